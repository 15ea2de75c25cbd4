"""kill -9 of any process of the service is healed."""

from __future__ import annotations

from collections.abc import Callable

from device import Device

Say = Callable[[str, str], None]


def test_every_process_may_be_killed(device: Device, say: Say) -> None:
    device.wait_until_good()
    device.wait_for_frames(1)
    main = int(device.property("MainPID"))
    children = [number for number in device.processes() if number != main]
    assert children, "the model is to run in a process of its own"
    for child in children:
        device.machine.run(f"kill -9 {child}")
        device.wait_for_frames(2)
        assert int(device.property("MainPID")) == main, "a lost child took the run with it"
        assert child not in device.processes()
    restarts = int(device.property("NRestarts"))
    device.machine.run(f"kill -9 {main}")
    seconds = device.wait(
        "systemd starts it again", lambda: int(device.property("NRestarts")) > restarts
    )
    device.wait_for_frames(2)
    assert int(device.property("MainPID")) not in {0, main}
    assert not set(children) & set(device.processes()), "a killed run left its model behind"
    say("kill -9 of each child", f"{len(children)}: the run went on, in the same process")
    say("kill -9 of the run", f"started again {seconds:.0f} s later, frames again")


def test_the_results_are_whole_after_that(device: Device) -> None:
    assert device.query("PRAGMA integrity_check") == [["ok"]]
    assert device.query("PRAGMA foreign_key_check") == []
