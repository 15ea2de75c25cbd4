"""A wheelhouse is built, moved, and installed from without a network, by the real pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stand_in_device import SCRIPTS, Device
from tiny_wheelhouse import build, make_wheel, sha256


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    done = build(folder / "sources", folder / "wheelhouse")
    assert done.returncode == 0, done.stderr
    assert "3 wheels" in done.stdout
    return folder / "wheelhouse"


@pytest.fixture
def stick(built: Path, tmp_path: Path) -> Path:
    """The wheelhouse on a USB stick, away from the checkout."""
    return Path(shutil.copytree(built, tmp_path / "a stick" / "wheelhouse"))


@pytest.fixture
def device(tmp_path: Path, stick: Path) -> Device:
    """A device whose python3 is a real one, and which has neither apt nor a registry."""
    device = Device(tmp_path / "a device")
    stubs = device.folder / "stubs"
    (stubs / "python3").write_text(
        f'#!/bin/bash\n[ "$1" != -c ] || exec echo 3.11\nexec "{sys.executable}" "$@"\n'
    )
    (stubs / "apt-get").write_text('#!/bin/bash\necho "no network" >&2; exit 100\n')
    shutil.rmtree(device.copied)
    stick.rename(device.copied)
    device.environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"
    return device


def install(device: Device, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(device.copied / "install.sh"), *arguments],
        env=device.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_one_folder_provisions_a_device_without_a_network(device: Device) -> None:
    done = install(device)
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: python3-picamera2 is not installed: USB cameras only" in done.stdout
    command = device.root / "usr/local/bin/qlvit-edge"
    said = subprocess.run([command], capture_output=True, text=True, check=True).stdout
    assert said == "version 7\n"
    settings = (device.prefix / "venv" / "pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in settings
    before = device.tree()
    done = install(device)
    assert "Nothing had to be changed." in done.stdout
    assert device.tree() == before


def test_a_wheelhouse_carries_all_that_a_device_needs(stick: Path) -> None:
    names = {str(path.relative_to(stick)) for path in stick.rglob("*") if path.is_file()}
    for script in SCRIPTS.rglob("*.sh"):
        if script.parent.name != "rauc":
            assert str(script.relative_to(SCRIPTS)) in names
    assert "60-qlvit-edge.rules" in names
    assert not any(name.endswith(".py") for name in names)
    summed = {line.split("  ")[1] for line in (stick / "SHA256SUMS").read_text().splitlines()}
    assert summed == names - {"SHA256SUMS"}
    assert (stick / "TARGET").read_text() == "bookworm-arm64\n"


@pytest.mark.slow
def test_a_package_that_changed_on_the_way_is_not_taken(tmp_path: Path) -> None:
    out = tmp_path / "wheelhouse"
    done = build(tmp_path / "sources", out, changed=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "HASHES" in done.stderr
    assert not out.exists()


def test_a_folder_of_somebody_elses_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    done = build(tmp_path / "sources", out)
    assert done.returncode == 2
    assert "is not a wheelhouse" in done.stderr
    assert out.is_dir()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_wheelhouse_is_refused_before_anything_changes(device: Device) -> None:
    before = device.tree()
    wheel = device.copied / "wheels" / "tiny_part-1.0-py3-none-any.whl"
    whole = wheel.read_bytes()
    for name in ("requirements.txt", "60-qlvit-edge.rules", f"wheels/{wheel.name}"):
        file = device.copied / name
        content = file.read_bytes()
        flip(file)
        done = install(device)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"is damaged: {name}: FAILED" in done.stderr
        file.write_bytes(content)
    wheel.unlink()
    assert "is damaged" in install(device).stderr
    wheel.write_bytes(whole)
    for name in ("wheels/more-1.0.whl", "qlvit-edge.service.d/more.conf", "journald.conf.d/a.conf"):
        (device.copied / name).write_bytes(whole)
        assert f"{name}, of which its SHA256SUMS says nothing" in install(device).stderr
        (device.copied / name).unlink()
    (device.copied / "wheels" / "pip-0-py3-none-any.whl").symlink_to(device.wheel)
    assert "pip-0-py3-none-any.whl, of which" in install(device).stderr
    (device.copied / "wheels" / "pip-0-py3-none-any.whl").unlink()
    sums = (device.copied / "SHA256SUMS").read_text().splitlines(keepends=True)
    for name in ("run.toml", "requirements.txt", "steps/service.sh"):
        kept = [line for line in sums if not line.endswith(f"  {name}\n")]
        assert len(kept) == len(sums) - 1
        (device.copied / "SHA256SUMS").write_text("".join(kept))
        assert f"{name}, of which its SHA256SUMS says nothing" in install(device).stderr
    assert device.tree() == before


def test_the_language_of_the_device_does_not_matter(device: Device) -> None:
    """Names are sorted in another order by other languages, in which `comm` then fails."""
    for name in ("comm", "sort"):
        (device.folder / "stubs" / name).write_text(
            f'#!/bin/bash\n[ "$LC_ALL" = C ] || exec echo not in order\nexec /usr/bin/{name} "$@"\n'
        )
        (device.folder / "stubs" / name).chmod(0o755)
    device.environment["LANG"] = "en_GB.UTF-8"
    done = install(device, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")


def sum_again(folder: Path) -> None:
    """Write sums that fit what lies there, as somebody who changes a file would."""
    lines = [
        f"{sha256(path)}  {path.relative_to(folder)}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.slow
def test_a_wheel_that_is_not_the_locked_one_is_refused_by_pip(device: Device) -> None:
    make_wheel(device.copied / "wheels", "tiny_part", extra="NUMBER = 8\n")
    sum_again(device.copied)
    done = install(device)
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "install.sh: failed: " in done.stderr
    assert not (device.prefix / "venv").exists()


@pytest.mark.slow
def test_a_lock_that_lacks_a_part_is_noticed(device: Device) -> None:
    lock = device.copied / "requirements.txt"
    own = lock.read_text()[: lock.read_text().index("tiny-part")]
    lock.write_text(own)
    sum_again(device.copied)
    done = install(device)
    assert done.returncode == 1
    assert "requires tiny-part, which is not installed" in done.stderr
    assert not (device.prefix / "venv").exists()


def test_a_wheelhouse_for_another_system_is_refused(device: Device) -> None:
    device.system("trixie")
    (device.folder / "stubs" / "python3").write_text("#!/bin/bash\necho 3.13\n")
    done = install(device)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is for 'bookworm-arm64', this is trixie-arm64" in done.stderr
    assert "make wheelhouse TARGET=trixie-arm64" in done.stderr


@pytest.mark.slow
def test_the_tree_of_a_device_is_made_on_the_workstation(built: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "application.py"), str(built)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "tree")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "the largest: " in done.stdout
    venv = tmp_path / "tree" / "venv"
    assert (venv / "lib/python3.11/site-packages/tiny_part.py").read_text() == "NUMBER = 7\n"
    assert os.readlink(venv / "bin" / "python") == "/usr/bin/python3"
    assert (venv / "bin" / "qlvit-edge").read_text().startswith("#!/opt/qlvit-edge/venv/bin/python")
    again = subprocess.run(
        [*command, "--out", str(tmp_path / "tree")], capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "exists already" in again.stderr
