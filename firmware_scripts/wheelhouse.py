"""Build a wheelhouse: one folder with all that a device is provisioned from, without a network.

It holds the wheels that the target's lock file names (pip compares every one with its hash), our
own, pip's, and what lies beside this file: installer, rules, units and configuration. `TARGET`
says for what it is, `requirements.txt` locks what is in it, `SHA256SUMS` covers every file.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
GLIBC = {"bookworm": 36, "trixie": 41}
"""The newest glibc 2.x of each release: a wheel may ask for at most that."""


@dataclass(frozen=True)
class Target:
    """A system that wheels are fetched for.

    Attributes:
        name: release and Debian architecture, such as `bookworm-arm64`.
        python: version of its python3, such as `3.11`.
        machine: its machine in the names of wheels.
    """

    name: str
    python: str
    machine: str

    def pip_options(self) -> list[str]:
        """Return the options that make pip choose wheels for this system."""
        tag = f"cp{self.python.replace('.', '')}"
        newest = GLIBC[self.name.partition("-")[0]]
        platforms = [*(f"manylinux_2_{minor}" for minor in range(newest, 16, -1)), "manylinux2014"]
        return [
            *("--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}"),
            *(f"--abi={abi}" for abi in (tag, "abi3", "none")),
            *(
                f"--platform={platform}_{self.machine}"
                for platform in [*platforms, "manylinux2014"]
            ),
        ]


TARGETS = {
    target.name: target
    for target in (
        Target("bookworm-arm64", "3.11", "aarch64"),
        Target("trixie-arm64", "3.13", "aarch64"),
        Target("bookworm-armhf", "3.11", "armv7l"),
    )
}


def build(target: Target, wheel: Path, requirements: Path, out: Path) -> None:
    """Build the wheelhouse beside `out` and move it there when it is whole.

    Args:
        target: the system it is for.
        wheel: our own package.
        requirements: the folder of the lock files.
        out: the folder to make; an older one is replaced.

    Raises:
        SystemExit: with exit code 2 and one line, if something is missing or refused.
    """
    lock = requirements / f"device-{target.name}.txt"
    for needed in (lock, requirements / "wheelhouse-pip.txt", wheel):
        if not needed.is_file():
            fail(f"{needed}: no such file; run 'make wheel' in a whole checkout")
    if out.exists() and not (out / "TARGET").is_file():
        fail(f"{out}: is not a wheelhouse; name another folder with --out")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    wheels = part / "wheels"
    wheels.mkdir(parents=True)
    shutil.copy(wheel, wheels)
    for source in (lock, requirements / "wheelhouse-pip.txt"):
        download(source, wheels, target)
    copy_scripts(part)
    (part / "TARGET").write_text(f"{target.name}\n")
    (part / "requirements.txt").write_text(locked(wheels, target))
    bill = HERE / "bill_of_materials.py"
    if bill.is_file():
        run(sys.executable, str(bill), str(wheels), "--out", str(part / "bom.cdx.json"))
    (part / "SHA256SUMS").write_text(sums(part))
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)


def download(lock: Path, wheels: Path, target: Target) -> None:
    """Fetch what a lock file names; a file with another hash is refused by pip."""
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
        *("--no-deps", "--require-hashes", *target.pip_options()),
        *(f"--dest={wheels}", f"--requirement={lock}"),
    )


def copy_scripts(folder: Path) -> None:
    """Copy what lies beside this file, but what only a workstation needs."""
    leave = {"wheelhouse.py", "application.py", "bill_of_materials.py", "rauc", "__pycache__"}
    for source in sorted(HERE.iterdir()):
        if source.name in leave or source.name.startswith("."):
            continue
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(source, folder / source.name, ignore=ignore)
        else:
            shutil.copy(source, folder)


def locked(wheels: Path, target: Target) -> str:
    """Return a requirements file of all wheels of a folder but pip's, each with its hash."""
    lines = [f"# What this wheelhouse installs on {target.name}."]
    for wheel in sorted(wheels.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        if name != "pip":
            project = re.sub(r"[-_.]+", "-", name).lower()
            lines.append(f"{project}=={version} \\\n    --hash=sha256:{sha256(wheel)}")
    return "\n".join(lines) + "\n"


def sums(folder: Path) -> str:
    """Return the SHA-256 of every file below a folder, as `sha256sum --check` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256(path)}  {path.relative_to(folder)}\n" for path in files)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def run(*command: str) -> None:
    """Run a command; if it fails, end with its last line that tells of an error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        fail(f"{' '.join(command[1:4])}: {said}; is there a network, is the lock file up to date?")


def fail(line: str) -> NoReturn:
    """End with exit code 2 and one line."""
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2)


def main() -> None:
    """Read the options and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", choices=sorted(TARGETS), help="the device's system")
    parser.add_argument("--wheel", type=Path, required=True, help="our package, from 'make wheel'")
    parser.add_argument("--requirements", type=Path, default=HERE.parent / "requirements")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    options = parser.parse_args()
    build(TARGETS[options.target], options.wheel, options.requirements, options.out)
    count = len(list((options.out / "wheels").glob("*.whl")))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {count} wheels, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
