"""Install a wheelhouse's wheels into a folder on the workstation, as the device would have them.

The folder is what `/opt/qlvit-edge` is on a device: a virtual environment of the system's python3
that sees the system's packages. It is what a RAUC bundle carries (`rauc/build_bundle.sh`), and
what the size on a device is measured on: `--sizes` names the largest parts.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from wheelhouse import TARGETS, Target, fail, run

PREFIX = "/opt/qlvit-edge"
LAUNCHER = f"""#!{PREFIX}/venv/bin/python
import sys
from qlvit_edge.__main__ import main
sys.exit(main())
"""


def install(wheelhouse: Path, folder: Path) -> Path:
    """Install the wheels into `folder/venv`, for the system that the wheelhouse is for.

    Returns:
        The folder of the installed packages.

    Raises:
        SystemExit: with exit code 2 and one line, if a wheel is missing or not what was locked.
    """
    target = target_of(wheelhouse)
    check(wheelhouse)
    if folder.exists():
        fail(f"{folder}: exists already; name another folder")
    venv = folder / "venv"
    site = venv / "lib" / f"python{target.python}" / "site-packages"
    site.mkdir(parents=True)
    own = f"{sys.version_info.major}.{sys.version_info.minor}" == target.python
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
        *("--no-index", f"--find-links={wheelhouse / 'wheels'}", "--no-deps", "--require-hashes"),
        *("--compile" if own else "--no-compile", *target.pip_options()),
        *(f"--target={site}", f"--requirement={wheelhouse / 'requirements.txt'}"),
    )
    shutil.rmtree(site / "bin", ignore_errors=True)  # they name this machine's python
    (venv / "bin").mkdir()
    for name in ("python", "python3"):
        (venv / "bin" / name).symlink_to("/usr/bin/python3")
    launcher = venv / "bin" / "qlvit-edge"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    (venv / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {target.python}\n"
    )
    (folder / ".qlvit-edge").touch()
    return site


def target_of(wheelhouse: Path) -> Target:
    """Return the system that a wheelhouse is for."""
    file = wheelhouse / "TARGET"
    name = file.read_text().strip() if file.is_file() else ""
    if name not in TARGETS:
        fail(f"{wheelhouse}: is not a wheelhouse; build one with 'make wheelhouse'")
    return TARGETS[name]


def check(wheelhouse: Path) -> None:
    """Compare every file with the wheelhouse's sums."""
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    done = subprocess.run(command, cwd=wheelhouse, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).splitlines()[0]
        fail(f"{wheelhouse}: is damaged: {said}; build it again with 'make wheelhouse'")


def sizes(site: Path) -> Counter[str]:
    """Return the bytes that each installed distribution takes, by name."""
    found: Counter[str] = Counter()
    for record in site.glob("*.dist-info/RECORD"):
        with record.open(newline="") as stream:
            files = [site / row[0] for row in csv.reader(stream)]
        name = record.parent.name.split("-")[0]
        found[name] = sum(file.stat().st_size for file in files if file.is_file())
    return found


def main() -> None:
    """Read the options, install, print what takes the room."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheelhouse", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    options = parser.parse_args()
    site = install(options.wheelhouse.resolve(), options.out)
    largest = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes(site).most_common(3))
    everything = sum(path.lstat().st_size for path in options.out.rglob("*") if not path.is_dir())
    print(f"{options.out}: {everything / 1e6:.0f} MB installed; the largest: {largest}")


if __name__ == "__main__":
    main()
