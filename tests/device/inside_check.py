"""`doctor` and `validate` on the device itself, of the model that runs there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from device import PACKAGE, Device

Say = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def _service_rests(device: Device) -> Iterator[None]:
    """Both want the processor for themselves, as their documentation says."""
    device.machine.run("systemctl stop qlvit-edge")
    yield
    device.machine.run("systemctl start --no-block qlvit-edge")


def test_doctor_finds_nothing_that_fails(device: Device, say: Say) -> None:
    code, out, error = device.program("doctor installed --json")
    assert code in {0, 1}, error
    found = json.loads(out)["findings"]
    failed = [one for one in found if one["state"] == "fail"]
    assert not failed, failed
    assert code == 0
    counts = {word: sum(one["state"] == word for one in found) for word in ("ok", "warning")}
    say("`doctor installed`", f"{counts['ok']} ok, {counts['warning']} warnings, none fails")


def test_validate_says_that_the_device_computes_what_was_proved(device: Device, say: Say) -> None:
    code, out, error = device.program(
        f"validate installed --data {PACKAGE}/bundled/crops --one-view --out /tmp/report --json"
    )
    assert code == 0, f"{out[-2000:]}\n{error[-2000:]}"
    report = json.loads(out)
    assert report["verdict"]
    say("`validate installed`, the bundled crops", str(report["verdict"])[:300])
