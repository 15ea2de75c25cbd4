"""Write the device's lock files: every package by version and by the hashes of its files.

    python requirements/lock.py --uv UV

What is locked is what a device installs: the package's own dependencies and those of the extras in
`EXTRAS`, as pyproject.toml asks for them. `picamera2` is not among them: it comes with the system,
together with the libcamera it belongs to. Versions are those that the tests ran with
(requirements/constraints.txt), but for what `Target.instead` says of a system. Exit code 2 if
something cannot be resolved; no file is changed then.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
EXTRAS = ("page", "sign")


@dataclass(frozen=True)
class Target:
    """A system that wheels are collected for.

    Attributes:
        name: of its lock file, requirements/device-NAME.txt.
        python: its own version of Python.
        platform: its machine and C library, as the resolver names them.
        instead: what replaces the constraints on the same packages.
    """

    name: str
    python: str
    platform: str
    instead: tuple[str, ...] = ()


TARGETS = (
    Target(
        "bookworm-arm64",
        "3.11",
        "aarch64-manylinux_2_36",
        # Its picamera2 is compiled against numpy 1; OpenCV 4.12 and ml-dtypes 0.6 want numpy 2.
        ("numpy>=1.26,<2", "opencv-python-headless>=4.9,<4.12", "ml-dtypes<0.6"),
    ),
    Target("trixie-arm64", "3.13", "aarch64-manylinux_2_40"),
)


def constraints_for(target: Target, text: str) -> str:
    """Return the constraints with those replaced that a system has its own for."""
    names = {re.split(r"[<>=!~]", one)[0] for one in target.instead}
    kept = [line for line in text.splitlines() if line.partition("==")[0] not in names]
    return "\n".join([*kept, *target.instead, ""])


def extras_there(pyproject: str) -> list[str]:
    """Return which of `EXTRAS` pyproject.toml has."""
    declared = tomllib.loads(pyproject)["project"]["optional-dependencies"]
    return [name for name in EXTRAS if name in declared]


def resolved(target: Target, uv: Path) -> str:
    """Return what a system installs, one package with its hashes per block.

    Raises:
        RuntimeError: there is no such set of packages, or the registry does not answer.
    """
    pyproject = ROOT / "pyproject.toml"
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        text = constraints_for(target, CONSTRAINTS.read_text(encoding="utf-8"))
        constraints.write_text(text, encoding="utf-8")
        command = [str(uv), "pip", "compile", str(pyproject), "--constraint", str(constraints)]
        for extra in extras_there(pyproject.read_text(encoding="utf-8")):
            command += ["--extra", extra]
        command += ["--python-version", target.python, "--python-platform", target.platform]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-config", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{target.name}: {' '.join(done.stderr.split())[:500]}")
    return (
        f"# What a device with {target.name} installs: made by `make lock`, not by hand.\n"
        f"# For Python {target.python}; pip takes it with --require-hashes --only-binary :all:.\n"
        f"{done.stdout}"
    )


def main() -> int:
    """Resolve all, then write all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--uv", type=Path, required=True, help="the resolver's program")
    options = parser.parse_args()
    try:
        locks = {target.name: resolved(target, options.uv) for target in TARGETS}
    except (RuntimeError, OSError) as error:
        print(f"lock: {error}; nothing was changed", file=sys.stderr)
        return 2
    for name, text in locks.items():
        path = ROOT / "requirements" / f"device-{name}.txt"
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(re.findall('==', text))} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
