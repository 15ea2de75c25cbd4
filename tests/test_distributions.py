"""`make wheel`: the wheel that devices get, and the source distribution."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE_BY_THE_BUILD = {"PKG-INFO", "setup.cfg"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is tracked, with a stray file and a model, and what `make wheel` left."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing says which files are tracked")
    folder = tmp_path_factory.mktemp("a checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():  # not one that was removed and is still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "notes.txt").write_text("mine")
    (folder / "models" / "large").mkdir(parents=True)
    (folder / "models" / "large" / "large.tflite").write_bytes(bytes(1000))
    environment = ["-o", ".venv/.package", f"VENV={sys.prefix}"]
    done = subprocess.run(
        ["make", "--silent", *environment, "wheel"], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder


def test_the_source_distribution_holds_what_is_tracked(checkout: Path) -> None:
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {m.name.partition("/")[2] for m in opened.getmembers() if m.isfile()}
    made = {name for name in names if ".egg-info/" in name} | MADE_BY_THE_BUILD
    left = {"dist", "notes.txt", "models"}  # weights are of the repository alone
    tracked = {
        path.relative_to(checkout).as_posix()
        for path in checkout.rglob("*")
        if path.is_file() and path.relative_to(checkout).parts[0] not in left
    }
    assert names - made == tracked


def test_the_wheel_holds_the_package_and_nothing_else_and_is_small(checkout: Path) -> None:
    (wheel,) = (checkout / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"qlvit_edge"}
    assert "qlvit_edge/bundled/blood-nano/blood-nano.tflite" in names
    assert wheel.stat().st_size < 15_000_000
    assert {path.name for path in checkout.glob("*.egg-info")} | set(
        checkout.glob("build")
    ) == set()
