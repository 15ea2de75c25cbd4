"""Disks of emulated devices, built once into a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import arm64_userland

SCRIPT = Path(__file__).with_name("build_image.sh")


@dataclass(frozen=True)
class Image:
    """The disk of a device that was never started.

    Attributes:
        folder: holds `disk.raw`, `vmlinuz`, `initrd.img` and the guest's `host_key.pub`.
        key: the private key that the guest's root lets in.
    """

    folder: Path
    key: Path


def build(cache: Path, arm64_cache: Path, suite: str = "bookworm") -> Image:
    """Build what is missing in the cache.

    Args:
        cache: folder for images; some gigabytes each.
        arm64_cache: folder of the user-mode emulator (`make arm64` has the same).
        suite: Debian's name of the release.

    Raises:
        SystemExit: with exit code 2 and one line that says what is missing.
    """
    cache.mkdir(parents=True, exist_ok=True)
    key = cache / "key"
    if not key.is_file():
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "device", "-f", str(key))
    made_by = hashlib.sha256(SCRIPT.read_bytes() + key.with_suffix(".pub").read_bytes())
    folder = cache / f"{suite}-arm64-{made_by.hexdigest()[:8]}"
    if not folder.is_dir():
        new = folder.with_name(folder.name + ".new")
        _run(
            *([] if os.geteuid() == 0 else ["sudo"]),
            *(
                str(SCRIPT),
                suite,
                str(new),
                f"{key}.pub",
                str(arm64_userland.emulator(arm64_cache)),
            ),
        )
        new.rename(folder)
    return Image(folder, key)


def layer(base: Path, top: Path) -> Path:
    """Make an empty disk over another one, which is not written to; returns it."""
    kind = "raw" if base.suffix == ".raw" else "qcow2"
    _run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", kind, str(top))
    return top


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None and not Path(command[0]).is_file():
        arm64_userland.fail(f"{command[0]}: not installed; `make test-device` installs it")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        arm64_userland.fail(f"{command[0]}: {last}; {' '.join(command[1:])}")
