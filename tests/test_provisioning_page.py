"""The page on provisioning shows what the scripts really print."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from pages import ROOT, blocks, text_of
from stand_in_device import Device, make_wheelhouse

PAGE = ROOT / "docs" / "provisioning.md"


def shown(command: str) -> str:
    """What the page shows below a command."""
    for block in blocks(text_of(PAGE)):
        first, _, rest = block.text.partition("\n")
        if first == f"$ {command}":
            return rest.strip()
    raise AssertionError(f"the page does not show {command}")


def as_on_a_device(text: str, device: Device) -> str:
    """Replace the places of the test by those of a device, and the environment's name by ID."""
    text = text.replace(str(device.copied).replace(" ", r"\ "), "/media/pi/STICK/bookworm-arm64")
    text = text.replace(str(device.copied), "/media/pi/STICK/bookworm-arm64")
    text = text.replace(str(device.root), "")
    text = re.sub(r"\b[0-9a-f]{64}\b", "SHA-256", text)
    return re.sub(r"-python3\.11-[0-9a-f]{16}", "-python3.11-ID", text).strip()


def printed(device: Device, command: str) -> str:
    """What a command of the page prints, run within the wheelhouse on the device."""
    words = command.replace("sudo ", "").split()
    done = subprocess.run(
        words,
        cwd=device.copied,
        env=device.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return as_on_a_device(done.stdout, device)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path / "device")
    make_wheelhouse(device)
    return device


def test_the_dry_run_is_as_shown(device: Device) -> None:
    command = "bash install.sh --dry-run"
    assert printed(device, command) == shown(command)


def test_the_second_run_and_the_removal_are_as_shown(device: Device) -> None:
    printed(device, "bash install.sh")
    assert printed(device, "bash install.sh") == shown("sudo bash install.sh")
    command = "bash install.sh --uninstall"
    assert printed(device, command) == shown(f"sudo {command}")


def test_the_other_scripts_are_as_shown(device: Device) -> None:
    command = "bash hardware_watchdog.sh --dry-run"
    (device.root / "dev").mkdir()
    (device.root / "dev" / "watchdog").touch()
    assert printed(device, command) == shown(command)


def test_every_option_of_the_scripts_is_on_the_page() -> None:
    text = text_of(PAGE)
    for script in sorted((ROOT / "firmware_scripts").rglob("*.sh")):
        if script.parent.name == "steps":
            continue
        assert re.search(rf"bash \S*{re.escape(script.name)}", text), script.name
        help_text = subprocess.run(
            ["bash", str(script), "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in re.findall(r"^  (--[a-z0-9-]+)", help_text, re.MULTILINE):
            assert option in text, f"{script.name} {option}"
