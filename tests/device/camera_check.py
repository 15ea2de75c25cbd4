"""`usb:0` against a camera of the kernel's own, vivid: frames, colours, sizes, and unplugging."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator

import pytest
from device import PATIENCE, Device

Say = Callable[[str, str], None]

DRIVER = "/sys/bus/platform/drivers/vivid"
BARS = {
    "white": (191, 191, 191),
    "yellow": (191, 191, 0),
    "cyan": (0, 191, 191),
    "green": (0, 191, 0),
    "magenta": (191, 0, 191),
    "red": (191, 0, 0),
    "blue": (0, 0, 191),
    "black": (0, 0, 0),
}
"""The colour bars that vivid shows from left to right: three quarters of full brightness."""

CAMERA_RESULTS = "/var/lib/qlvit-edge/camera.sqlite"

_TAKE = """
import json, sys
from qlvit_edge.camera.sources import open_camera
camera = open_camera(sys.argv[1])
with camera:
    frame = next(camera.frames())
height, width = frame.image.shape[:2]
row = frame.image[height * 3 // 4]
colours = [row[(2 * bar + 1) * width // 16].tolist() for bar in range(8)]
print(json.dumps([width, height, colours, camera.identity, camera.report.dropped]))
"""


@pytest.fixture(scope="module", autouse=True)
def _a_camera(device: Device) -> Iterator[None]:
    device.machine.run("systemctl stop qlvit-edge; modprobe vivid n_devs=1; udevadm settle")
    yield
    device.machine.run("rmmod vivid; systemctl start --no-block qlvit-edge")


def _take(device: Device, source: str) -> tuple[int, int, list[list[int]], str, int]:
    out = device.machine.run(
        f"cd / && runuser -u qlvit-edge -- /opt/qlvit-edge/venv/bin/python -c "
        f"{shlex.quote(_TAKE)} {shlex.quote(source)}"
    )
    width, height, colours, identity, dropped = json.loads(out)
    return width, height, colours, identity, dropped


def test_it_is_listed_and_only_its_capturing_device(device: Device, say: Say) -> None:
    code, out, error = device.program("camera list --json")
    assert code == 0, error
    found = json.loads(out)
    nodes = device.machine.run("ls /dev | grep -c '^video'").strip()
    assert [one["source"] for one in found] == ["usb:0"]
    assert not found[0]["note"]
    say("`camera list`", f"{found[0]['source']}, {found[0]['description']} ({nodes} video devices)")


@pytest.mark.parametrize("size", ["", "320x180", "640x480", "1280x720"])
def test_sizes_and_colours(device: Device, say: Say, size: str) -> None:
    source = f"usb:0?size={size}" if size else "usb:0"
    width, height, colours, identity, dropped = _take(device, source)
    assert not size or f"{width}x{height}" == size
    for (name, wanted), got in zip(BARS.items(), colours, strict=True):
        far = max(abs(a - b) for a, b in zip(wanted, got, strict=True))
        assert far <= 24, f"{name} came as {got}"
    assert dropped == 0
    assert identity
    say(f"`{source}`", f"{width}x{height}, eight bars in their colours; {identity}")


def test_a_size_that_it_lacks_is_refused(device: Device) -> None:
    code, _, error = device.program("camera test 'usb:0?size=641x479' --frames 3")
    assert code == 2
    assert "not 641x479" in error


def test_camera_test_judges_it(device: Device, say: Say) -> None:
    code, out, error = device.program("camera test usb:0 --frames 12")
    assert code in {0, 1}, error
    assert "Traceback" not in error
    said = [line for line in out.splitlines() if line.startswith(("ok", "warning", "error"))]
    assert "ok      drops: none came damaged" in out, out
    say("`camera test usb:0`", "; ".join(said))


def test_a_camera_in_use_is_refused_in_one_line(device: Device) -> None:
    holding = device.machine.popen(
        "cd / && /opt/qlvit-edge/venv/bin/python -c 'import cv2, time; "
        'c = cv2.VideoCapture("/dev/video0", cv2.CAP_V4L2); print(c.grab(), flush=True); '
        "time.sleep(300)'"
    )
    try:
        assert holding.stdout is not None
        assert holding.stdout.readline().strip() == b"True"
        code, _, error = device.program("camera test usb:0 --frames 3")
        assert code == 2
        assert "in use" in error
        assert "Traceback" not in error
    finally:
        device.machine.run("pkill -f '[c]v2.VideoCapture' || true")
        holding.communicate(timeout=PATIENCE)


def test_a_run_classifies_its_frames(device: Device, say: Say) -> None:
    code, out, error = device.program(
        f"run blood-nano --camera usb:0 --out {CAMERA_RESULTS} --find none --frames 5 --json"
    )
    assert code == 0, error
    summary = json.loads(out)
    assert summary["frames"] == 5, summary
    say("`run --camera usb:0`", f"5 frames; {error.strip().splitlines()[-1:] or 'no notes'}")


def test_unplugged_in_mid_run_and_plugged_in_again(device: Device, say: Say) -> None:
    log = "/tmp/unplugged.log"
    device.machine.run(f"rm -f {log}")
    running = device.machine.popen(
        "cd /var/lib/qlvit-edge && runuser -u qlvit-edge -- /usr/local/bin/qlvit-edge run "
        "blood-nano --camera usb:0 --out camera.sqlite --find none --frames 40 --no-stay "
        f">{log} 2>&1; echo ended with $?"
    )

    def stored() -> int:
        rows = device.query_of(
            CAMERA_RESULTS,
            "SELECT count(*) FROM frames WHERE run_id = (SELECT max(id) FROM runs)",
        )
        return int(rows[0][0])

    before = device.query_of(CAMERA_RESULTS, "SELECT max(id) FROM runs")
    device.wait("frames", lambda: _new_run(device, before) and stored() >= 3)
    device.machine.run(f"echo vivid.0 >{DRIVER}/unbind; test ! -e /dev/video0")
    device.wait("the loss is said", lambda: "tried again" in device.machine.run(f"cat {log}"))
    device.machine.run(f"echo vivid.0 >{DRIVER}/bind; udevadm settle; test -e /dev/video0")
    device.wait("it is there again", lambda: "connected again" in device.machine.run(f"cat {log}"))
    said, _ = running.communicate(timeout=PATIENCE)
    assert b"ended with 0" in said, device.machine.run(f"cat {log}")
    assert stored() == 40
    notes = [line for line in device.machine.run(f"cat {log}").splitlines() if "usb:0" in line]
    say("unplugged in mid-run, plugged in again", " / ".join(notes[:3]))


def test_unplugged_for_good_ends_the_run_with_what_was_stored(device: Device, say: Say) -> None:
    log = "/tmp/gone.log"
    running = device.machine.popen(
        "cd /var/lib/qlvit-edge && runuser -u qlvit-edge -- /usr/local/bin/qlvit-edge run "
        f"blood-nano --camera usb:0 --out gone.sqlite --find none >{log} 2>&1; echo ended with $?"
    )
    device.wait(
        "frames",
        lambda: bool(
            (
                device.query_of("/var/lib/qlvit-edge/gone.sqlite", "SELECT count(*) FROM frames")
                or [[0]]
            )[0][0]
        ),
    )
    device.machine.run(f"echo vivid.0 >{DRIVER}/unbind")
    said, _ = running.communicate(timeout=PATIENCE)
    assert b"ended with 2" in said, device.machine.run(f"cat {log}")
    last = device.machine.run(f"grep error {log}").strip()
    assert "\n" not in last
    device.machine.run(f"echo vivid.0 >{DRIVER}/bind; udevadm settle")
    say("unplugged for good", last)


def _new_run(device: Device, before: list[list[int]]) -> bool:
    now = device.query_of(CAMERA_RESULTS, "SELECT max(id) FROM runs")
    return now != before
