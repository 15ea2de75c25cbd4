"""A wheelhouse of tiny packages, built by the real builder from packages that lie in a folder."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from stand_in_device import SCRIPTS

FILES = {
    "qlvit_edge": "def main():\n    import tiny_part\n    print('version', tiny_part.NUMBER)\n",
    "tiny_part": "NUMBER = 7\n",
}
NEEDS = {"qlvit_edge": "tiny-part>=1", "tiny_part": None}


def make_wheel(folder: Path, name: str, *, extra: str = "") -> Path:
    """Write a wheel of one module."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    information = f"{name}-1.0.dist-info"
    needs = f"Requires-Dist: {NEEDS[name]}\n" if NEEDS[name] else ""
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", FILES[name] + extra)
        archive.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}"
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{information}/entry_points.txt", "[console_scripts]\nqlvit-edge = qlvit_edge:main\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    return wheel


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(folder: Path, out: Path, *, changed: bool = False) -> subprocess.CompletedProcess[str]:
    """Build a wheelhouse from packages that lie in a folder, as pip finds them at a registry."""
    registry, requirements = folder / "registry", folder / "requirements"
    shutil.rmtree(folder, ignore_errors=True)
    for made in (registry, requirements):
        made.mkdir(parents=True)
    part = make_wheel(registry, "tiny_part")
    own = make_wheel(folder, "qlvit_edge")
    (pip,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    shutil.copy(pip, registry)
    (requirements / "device-bookworm-arm64.txt").write_text(
        f"tiny-part==1.0 --hash=sha256:{sha256(part)}\n"
    )
    (requirements / "wheelhouse-pip.txt").write_text(
        f"pip=={pip.name.split('-')[1]} --hash=sha256:{sha256(pip)}\n"
    )
    if changed:
        make_wheel(registry, "tiny_part", extra="# changed on the way\n")
    return subprocess.run(
        [
            *(sys.executable, str(SCRIPTS / "wheelhouse.py"), "bookworm-arm64"),
            *("--wheel", str(own), "--requirements", str(requirements), "--out", str(out)),
        ],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": registry.as_uri()},
        capture_output=True,
        text=True,
        check=False,
    )
