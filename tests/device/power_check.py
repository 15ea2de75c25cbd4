"""The power is cut: in a run, in the installation of a model, after it; and an orderly reboot."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from device import BUNDLES, DATA, PROGRAM, Device
from provisioned import MODELS

from qlvit_edge import bundled
from qlvit_edge.modelfile.reader import read_bytes

Say = Callable[[str, str], None]

INSTALL = (
    f"cd {DATA} && install -m 0644 {BUNDLES}/1.1.0.qlvit /tmp/next.qlvit && "
    f"runuser -u qlvit-edge -- {PROGRAM} models install /tmp/next.qlvit"
)


def _runs_again(device: Device) -> None:
    device.wait("the service is up", lambda: device.property("ActiveState") == "active")
    device.wait_for_frames(1)
    assert device.query("PRAGMA integrity_check") == [["ok"]]
    assert device.query("PRAGMA foreign_key_check") == []


def test_a_cut_in_a_run_loses_no_stored_frame(device: Device, say: Say) -> None:
    device.wait_for_frames(2)
    stored = device.query("SELECT id, run_id, number FROM frames ORDER BY id")
    device.machine.cut_power()
    seconds = device.machine.start()
    kept = device.query(f"SELECT id, run_id, number FROM frames ORDER BY id LIMIT {len(stored)}")
    assert kept == stored, "frames that had been stored are gone"
    _runs_again(device)
    say(
        "power cut in a run",
        f"{len(stored)} of {len(stored)} frames kept; up after {seconds:.0f} s",
    )


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_cut_in_an_installation_leaves_a_whole_model(
    device: Device, say: Say, share: float, install_seconds: float
) -> None:
    before = device.active_model()
    assert before is not None
    began = time.monotonic()
    installing = device.machine.popen(INSTALL)
    time.sleep(share * install_seconds)
    ended = installing.poll()
    device.machine.cut_power()
    installing.communicate()  # which closes its pipe, too
    took = time.monotonic() - began
    device.machine.start()
    after = device.active_model()
    assert after is not None, "no model after the cut"
    assert after["usable"]
    assert after["version"] in {before["version"], "1.1.0"}
    _runs_again(device)
    assert _model_of_the_run(device) == after["sha256"]
    state = "had ended" if ended is not None else "was going on"
    say(f"power cut {took:.0f} s into a model's installation, which {state}", after["version"])


def test_what_was_said_to_be_installed_is_there_after_a_cut(device: Device, say: Say) -> None:
    device.machine.run(INSTALL)
    device.machine.cut_power()
    device.machine.start()
    model = device.active_model()
    assert model is not None
    assert model["version"] == "1.1.0"
    _runs_again(device)
    say(
        "power cut at once after `models install` ended", f"{model['version']}, {model['standing']}"
    )


def test_a_reboot_comes_back_with_the_new_model(device: Device, say: Say) -> None:
    good = device.wait_until_good()
    seconds = device.machine.reboot()
    model = device.active_model()
    assert model is not None
    assert (model["version"], model["standing"]) == ("1.1.0", "good")
    _runs_again(device)
    assert _model_of_the_run(device) == model["sha256"] == _sha256(MODELS["1.1.0"])
    say("new model marked good by its own frames", f"after {good:.0f} s of waiting")
    say("reboot", f"up after {seconds:.0f} s, {model['name']} {model['version']} runs")


def _model_of_the_run(device: Device) -> str:
    sha256: str = device.query("SELECT model_sha256 FROM runs ORDER BY id DESC LIMIT 1")[0][0]
    return sha256


def _sha256(name: str) -> str:
    import hashlib

    return hashlib.sha256(read_bytes(bundled.resolve_model(name))).hexdigest()


@pytest.fixture(scope="module")
def install_seconds(provisioned: object) -> float:
    return float(provisioned.install_seconds)  # type: ignore[attr-defined]
