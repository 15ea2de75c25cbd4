"""Where the installer may put things: results and units must outlive it."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_in_device import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "a device")


@pytest.mark.parametrize(
    ("option", "place", "finding"),
    [
        ("--prefix", "/opt/with space", "/opt/with space holds a space or a mark"),
        ("--data", "/srv/%h", "holds a space or a mark"),
        ("--prefix", "/opt/a#b", "holds a space or a mark"),
        ("--prefix", "/opt/a&b", "holds a space or a mark"),
        ("--prefix", "/opt/../etc", "by way of . or .."),
        ("--data", "/", "/ belongs to the system"),
        ("--data", "/etc/cells", "belongs to the system"),
        ("--data", "/opt/", "/opt holds what others put there"),
        ("--data", "/opt//qlvit-edge/results/", "lie in one another"),
        ("--data", "/opt/qlvit-edge", "lie in one another"),
        ("--prefix", "/var/lib/qlvit-edge/program", "lie in one another"),
    ],
)
def test_places_that_would_harm_results_or_units_are_refused(
    device: Device, option: str, place: str, finding: str
) -> None:
    before = device.tree()
    for also in ((), ("--uninstall",)):
        done = device.run(option, f"{device.root}{place}", *also)
        assert (done.returncode, done.stdout) == (2, "")
        assert finding in done.stderr
        assert done.stderr.count("\n") == 1
    assert (device.tree(), device.calls()) == (before, [])


def test_a_slash_too_many_is_the_same_place(device: Device) -> None:
    data = f"{device.root}/srv//zellen-für-später/"
    assert device.run("--prefix", f"{device.prefix}//", "--data", data).returncode == 0
    unit = (device.units / "qlvit-edge.service").read_text()
    assert "ReadWritePaths=/srv/zellen-für-später\n" in unit
    assert "Removed." in device.run("--uninstall").stdout
    assert not device.prefix.exists()
