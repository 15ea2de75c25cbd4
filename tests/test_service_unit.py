"""The service as systemd sees it: no complaint, little exposed, and nothing hidden that counts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT
from tiny_metadata import tiny_file

from qlvit_edge.camera.base import STALL_SECONDS
from qlvit_edge.configuration.last_good import EDITED, GOOD
from qlvit_edge.errors import QLViTEdgeError, RestartableError
from qlvit_edge.inference.allowance import Allowance

SCRIPTS = ROOT / "firmware_scripts"
UNIT = SCRIPTS / "qlvit-edge.service"
BACKOFF = SCRIPTS / "qlvit-edge.service.d" / "backoff.conf"
JOURNAL = SCRIPTS / "journald.conf.d" / "qlvit-edge.conf"
PROGRAM = "/opt/qlvit-edge/venv/bin/qlvit-edge"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)

HIDING = (
    r"ProcSubset=(?!all$)",
    r"RootDirectory=|RootImage=|RootEphemeral=|MountImages=|ExtensionImages=",
    r"(InaccessiblePaths|InaccessibleDirectories|TemporaryFileSystem|NoExecPaths)=.*/(sys|proc)\b",
    r"(InaccessiblePaths|InaccessibleDirectories|TemporaryFileSystem|NoExecPaths)=-?/(\s|:|$)",
    r"Bind(ReadOnly)?Paths=.*:/(sys|proc)\b",
    r"PrivateDevices=(yes|true|on|1)",
    r"PrivateNetwork=(yes|true|on|1)",
    r"PrivateUsers=(yes|true|on|1|self|identity)",
    r"DynamicUser=(yes|true|on|1)",
    r"MountAPIVFS=(no|false|off|0)",
    r"IPAddressDeny=",
)
"""Settings that hide the processor from XNNPACK, or cameras, an Edge TPU or the page."""


def settings(path: Path) -> list[str]:
    """The lines of a unit that set something, in order."""
    return [line for line in path.read_text().splitlines() if re.match(r"[A-Z]\w*=", line)]


def values(name: str) -> list[str]:
    return [line.partition("=")[2] for line in settings(UNIT) if line.startswith(f"{name}=")]


def hidden(lines: list[str]) -> list[str]:
    return [line for line in lines if any(re.match(pattern, line) for pattern in HIDING)]


def analyzed(tmp_path: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze about the unit, with a program that is there in place of ours."""
    unit = tmp_path / UNIT.name
    unit.write_text(text or UNIT.read_text().replace(PROGRAM, sys.executable))
    return subprocess.run(
        ["systemd-analyze", *arguments, str(unit)], capture_output=True, text=True, check=False
    )


@needs_analyze
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    done = analyzed(tmp_path, "verify", "--man=no")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    wrong = UNIT.read_text().replace(PROGRAM, sys.executable).replace("WatchdogSec", "WatchdogsSec")
    assert "Unknown key" in analyzed(tmp_path, "verify", "--man=no", text=wrong).stderr


@needs_analyze
def test_little_is_exposed(tmp_path: Path) -> None:
    done = analyzed(tmp_path, "security", "--offline=true", "--no-pager")
    found = re.search(r"Overall exposure level for qlvit-edge\.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= 3.0


def test_nothing_is_hidden_that_a_run_needs() -> None:
    assert hidden(settings(UNIT)) == []
    assert hidden(settings(BACKOFF)) == []
    assert values("ProcSubset") == ["all"]
    assert set(values("SupplementaryGroups")) == {"video plugdev"}
    devices = {value.split()[0] for value in values("DeviceAllow")}
    assert devices >= {"char-video4linux", "char-media", "char-dma_heap", "char-usb_device"}
    families = values("RestrictAddressFamilies")[0].split()
    assert set(families) >= {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}


@pytest.mark.parametrize(
    "line",
    [
        "ProcSubset=pid",
        "InaccessiblePaths=/sys/devices/system/cpu",
        "InaccessiblePaths=-/home -/proc/cpuinfo",
        "TemporaryFileSystem=/sys",
        "TemporaryFileSystem=/:ro",
        "BindReadOnlyPaths=/srv/empty:/sys/devices/system",
        "RootDirectory=/srv/qlvit-edge",
        "PrivateDevices=yes",
        "PrivateNetwork=true",
    ],
)
def test_a_line_that_hides_something_would_be_seen(line: str) -> None:
    assert hidden([line]) == [line]


def test_the_watchdog_waits_longer_than_what_heals_by_itself() -> None:
    (watchdog,) = values("WatchdogSec")
    (start,) = values("TimeoutStartSec")
    limits = Allowance()
    healing = STALL_SECONDS + 2 * limits.inference_seconds
    assert int(watchdog) > max(healing, limits.load_seconds)
    assert int(start) > 2 * limits.load_seconds
    assert values("Type") == ["notify"]
    assert values("NotifyAccess") == ["main"]


def test_what_another_start_cannot_mend_is_not_started_again() -> None:
    prevented = set(values("RestartPreventExitStatus")[0].split())
    assert prevented == {"1", str(QLViTEdgeError.exit_code)}
    assert str(RestartableError.exit_code) not in prevented
    assert values("Restart") == ["on-failure"]
    burst, interval = values("StartLimitBurst")[0], values("StartLimitIntervalSec")[0]
    (pause,) = values("RestartSec")
    assert int(burst) * int(pause) < int(interval)  # a crash at every start does end
    # A camera that stalls every time, and is there again every time, does not.
    assert int(burst) * (STALL_SECONDS + int(pause)) > int(interval)


def test_the_unit_and_the_program_mean_the_same_files() -> None:
    assert values("ExecStart") == [f"{PROGRAM} run --config {GOOD}"]
    assert values("ExecStartPre") == [f"-{PROGRAM} config apply"]
    assert values("ExecReload") == [f"{PROGRAM} config apply", "/bin/kill -HUP $MAINPID"]
    assert str(EDITED) == "/etc/qlvit-edge/run.toml"
    assert GOOD.parent == Path("/var/lib") / values("StateDirectory")[0]


def test_back_off_is_apart_for_managers_that_know_it() -> None:
    assert settings(BACKOFF) == ["RestartSteps=8", "RestartMaxDelaySec=5min"]
    assert not [line for line in settings(UNIT) if line.startswith("RestartSteps")]


def test_the_journal_is_bounded() -> None:
    names = {line.partition("=")[0] for line in settings(JOURNAL)}
    assert {"SystemMaxUse", "RuntimeMaxUse", "SystemKeepFree"} <= names
    assert int(values("LogRateLimitBurst")[0]) <= 1000


def can_hide() -> bool:
    tried = subprocess.run(
        ["unshare", "-rmpf", "mount", "-t", "proc", "-o", "subset=pid", "proc", "/proc"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


@pytest.mark.skipif(not can_hide(), reason="no mount namespaces here, or a /proc without subset")
def test_doctor_says_that_the_default_kernels_are_off_where_the_processor_is_hidden(
    tmp_path: Path,
) -> None:
    model = str(tiny_file(tmp_path / "tiny.tflite"))
    program = (
        "import sys\n"
        "from qlvit_edge.doctor.finding import Place\n"
        "from qlvit_edge.doctor.computing import check_processor, check_model\n"
        "place = Place(sys.argv[1])\n"
        "for one in check_processor(place) + check_model(place):\n"
        "    print(one.state, one.check, one.text, one.remedy, sep='|')\n"
    )
    hide = 'mount -t proc -o subset=pid proc /proc && exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        ["unshare", "-rmpf", "sh", "-c", hide, sys.executable, program, model],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    found = {line.split("|")[1]: line for line in done.stdout.splitlines()}
    assert found["processor"].startswith("warning|processor|/proc/cpuinfo cannot be read: XNNPACK")
    assert found["kernels"].startswith("warning|kernels|builtin")
    assert "runs no part of the model, as /proc/cpuinfo cannot be read" in found["kernels"]
