"""A Raspberry Pi OS Bookworm userland for arm64 in a folder, and QEMU to run it in user mode.

Nothing is installed on this machine: Debian packages are extracted (mmdebstrap), wheels for
aarch64 downloaded (pip) and unzipped, in the versions that are installed here; of the other
runtime, `tflite-runtime`, with the older ones that go with it. QEMU is trixie's (10): bookworm's
7.2 crashes on ai-edge-litert 2.3.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import qlvit_edge

PYTHON_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "zlib1g")
WHEELS = (
    *("numpy", "ai-edge-litert", "flatbuffers", "opencv-python-headless", "pydantic"),
    *("click", "rich", "mdurl"),
)
OLDER = {"numpy": "1.26.4", "tflite-runtime": "2.14.0", "opencv-python-headless": "4.11.0.86"}
"""What a device with `tflite-runtime` has instead: its last version knows no NumPy 2."""

GLIBC = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
OLDEST_QEMU = 10


@dataclass(frozen=True)
class Userland:
    """A built userland.

    Attributes:
        folder: the cache folder that holds everything.
        qemu: version of the emulator.
        site: name of the folder with the packages.
    """

    folder: Path
    qemu: str
    site: str = "site"

    def python(self, cpu: str) -> list[str]:
        """Return the command that is Python on an emulated processor."""
        root = self.folder / "userland"
        return [
            *(str(emulator(self.folder)), "-cpu", cpu, "-L", str(root)),
            *("-E", f"PYTHONPATH={self.folder / self.site}:{self.folder / 'project'}"),
            *("-E", "PYTHONHOME=/usr", "-E", "OMP_NUM_THREADS=1"),
            str(root / "usr/bin/python3.11"),
        ]

    def command(self, cpu: str, script: Path, *arguments: str) -> list[str]:
        """Return the command that runs a Python script on an emulated processor."""
        return [*self.python(cpu), "-P", str(script), *arguments]


def build(
    folder: Path,
    litert: str | None = None,
    *,
    own_code: bool = True,
    runtime: str = "ai-edge-litert",
) -> Userland:
    """Build what is missing in `folder`.

    Args:
        folder: the cache.
        litert: version of ai-edge-litert; None: the one installed here.
        own_code: bring the project's own code there up to date.
        runtime: `ai-edge-litert`, or `tflite-runtime` with `OLDER` packages.

    Raises:
        SystemExit: with exit code 2 and one line that says what is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    emulator(folder)
    if not (folder / "userland/usr/bin/python3.11").is_file():
        _extract(folder / "userland", "bookworm", "arm64", PYTHON_PACKAGES)
    versions = {name: importlib.metadata.version(name) for name in WHEELS}
    versions["ai-edge-litert"] = litert or versions["ai-edge-litert"]
    site = "site"
    if runtime == "tflite-runtime":
        site = "site-tflite-runtime"
        versions = {**versions, **OLDER}
        del versions["ai-edge-litert"]
    wanted = "\n".join(f"{name}=={version}" for name, version in versions.items())
    stamp = folder / f"{site}.txt"
    if not stamp.is_file() or stamp.read_text() != wanted:
        _wheels(folder / site, wanted.split(), [name for name in WHEELS if name in versions])
        stamp.write_text(wanted)
    if own_code:
        project = folder / "project"
        shutil.rmtree(project, ignore_errors=True)
        source, leave = Path(qlvit_edge.__file__).parent, shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, project / "qlvit_edge", ignore=leave)
    return Userland(folder, _version(folder), site)


def emulator(folder: Path) -> Path:
    """Return the user-mode emulator, a static program; it is unpacked where it is missing."""
    program = folder / "emulator/usr/bin/qemu-aarch64"
    if not program.is_file():
        _extract(folder / "emulator", "trixie", "amd64", ("qemu-user",))
    return program


def _version(folder: Path) -> str:
    said = subprocess.run(
        [emulator(folder), "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"version (\d+)[.\d]*", said)
    if not found or int(found[1]) < OLDEST_QEMU:
        fail(f"{emulator(folder)}: {said.splitlines()[0]}; QEMU {OLDEST_QEMU} is needed")
    return found[0].removeprefix("version ")


def _extract(target: Path, suite: str, architecture: str, packages: tuple[str, ...]) -> None:
    if shutil.which("mmdebstrap") is None:
        fail("mmdebstrap: not installed; apt-get install mmdebstrap")
    shutil.rmtree(target, ignore_errors=True)
    _run(
        *("mmdebstrap", "--quiet", "--variant=extract", "--skip=check/qemu"),
        *(f"--architectures={architecture}", f"--include={','.join(packages)}"),
        *(suite, str(target)),
    )


def _wheels(site: Path, wanted: list[str], packages: list[str]) -> None:
    downloads = site.with_name(f"{site.name}-wheels")
    for old in (downloads, site):
        shutil.rmtree(old, ignore_errors=True)
    # What the wheels' own metadata ask for is found for this machine and fetched for that one.
    needs = sorted(
        {
            f"{name}=={importlib.metadata.version(name)}"
            for package in packages
            for requirement in importlib.metadata.requires(package) or []
            if ";" not in requirement
            for name in [re.split(r"[^\w.-]", requirement)[0]]
        }
        - set(wanted)
    )
    platforms = [f"--platform={glibc}_aarch64" for glibc in GLIBC]
    _run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--only-binary=:all:", "--python-version=3.11", *platforms),
        *(f"--dest={downloads}", *wanted, *needs),
    )
    for wheel in sorted(downloads.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        fail(f"{command[0]}: {last}; {' '.join(command[1:])}")


def fail(line: str) -> NoReturn:
    """End with exit code 2 and one line."""
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2)
