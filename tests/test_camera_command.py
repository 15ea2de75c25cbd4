"""`qlvit-edge camera list` and `camera test` from the user's side."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import fake_picamera2
import fake_v4l2
import numpy as np
import pytest
from command import refused, run_command
from mjpeg_server import mjpeg_server
from optics import blank

import qlvit_edge.bundled
from qlvit_edge.camera.devices import Device, devices, identity_of
from qlvit_edge.camera.opencv import UsbCamera
from qlvit_edge.microscope.camera_check import check_camera

FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"


def machine(root: Path) -> Path:
    """A machine with two USB cameras, what belongs to a ribbon cable, and a metadata device."""
    (root / "dev/v4l/by-id").mkdir(parents=True)
    names = {0: "Maker HD", 1: "Maker HD", 2: "Old", 10: "bcm2835-codec-decode", 14: "unicam-image"}
    for number, name in names.items():
        (root / f"dev/video{number}").touch()
        folder = root / f"sys/class/video4linux/video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
    link = root / "dev/v4l/by-id/usb-Maker_HD_0001-video-index0"
    link.symlink_to("../../video0")
    (root / "dev/video-notes").touch()
    return root


def captures(device: Path) -> bool:
    if device.name == "video2":
        raise PermissionError(13, "Permission denied")
    return device.name != "video1"


def test_cameras_are_listed_by_their_lasting_name(tmp_path: Path) -> None:
    found = devices(machine(tmp_path), captures)
    assert found == [
        Device("usb:/dev/v4l/by-id/usb-Maker_HD_0001-video-index0", "Maker HD"),
        Device("usb:2", "Old", "permission denied; add yourself to the group `video`"),
    ]
    assert identity_of(tmp_path / "dev/video0", tmp_path) == "usb-Maker_HD_0001-video-index0"
    assert identity_of(tmp_path / "dev/video2", tmp_path) == "Old"


def test_a_machine_without_devices_has_no_camera(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert devices(tmp_path, captures) == []
    assert run_command("camera", "list", "--json") == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)


def test_cameras_of_the_ribbon_cable_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_picamera2.install(monkeypatch)
    assert run_command("camera", "list") == 0
    said = capsys.readouterr().out
    assert "picamera2" in said
    assert "imx477" in said
    assert "next: qlvit-edge camera test picamera2" in said


# Testing one


def test_a_good_camera_passes_and_its_pictures_are_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"simulated:{FIELDS}?fps=0"
    call = ("camera", "test", source, "--frames", 6, "--save", tmp_path / "new")
    assert run_command(*call) == 0
    said = capsys.readouterr().out
    assert "6 frames of 640x480 pixels" in said
    assert "ok      light: background 2" in said
    assert "ok      sharpness: 2" in said
    assert len(list((tmp_path / "new").glob("*.png"))) == 3
    assert run_command(*call[:-2], "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    assert found["frames"] == 6
    assert found["damaged"] == 0


def field(level: float) -> np.ndarray:
    """A bundled field, darker or brighter."""
    image = cv2.imread(str(sorted(FIELDS.glob("*.jpg"))[0]))
    assert image is not None
    return np.clip(image * level, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("level", "blur", "verdict", "words"),
    [
        (0.3, 0, "error   light", "too dark; turn the lamp up"),
        (0.6, 0, "warning light", "rather dark"),
        (1.6, 0, "error   light", "cut off at 255: turn the lamp down"),
        (1.0, 4, "warning sharpness", "nothing in the picture is sharp"),
    ],
)
def test_what_will_not_do_is_said_with_its_remedy(
    level: float,
    blur: int,
    verdict: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = field(level)
    if blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8)
    for name in "abc":
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    code = run_command("camera", "test", tmp_path, "--frames", 3)
    assert code == (1 if verdict.startswith("error") else 0)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(verdict)]
    assert len(lines) == 1
    assert words in lines[0]


def test_a_frozen_picture_and_automatic_colours_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_v4l2.install(monkeypatch)
    monkeypatch.setattr(fake, "colour", (210, 205, 200))
    device = tmp_path / "video0"
    device.touch()
    with UsbCamera(device) as camera:
        found = check_camera(camera, 5)
    said = {finding.what: finding for finding in found.findings}
    assert said["moving"].verdict == "error"
    assert said["settings"].verdict == "warning"
    assert "exposure 15.7 ms" in said["settings"].text
    assert not found.passed


def test_the_pace_of_a_live_camera_is_measured_between_its_frames() -> None:
    from qlvit_edge.camera.sources import open_camera

    content = cv2.imencode(".jpg", blank())[1].tobytes()
    with mjpeg_server(content) as host, open_camera(f"http://u:tiger@{host}/") as camera:
        found = check_camera(camera, 10)
    assert found.frames == 10
    # One picture in 10 ms, on a machine that may be busy: what counts are the frames' own clocks.
    assert 1 < found.frames_per_second < 1000
    assert "tiger" not in str(found)


def test_damaged_pictures_fail_the_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    for name in "abc":
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), field(1.0))
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    os.utime(tmp_path / "d.png", (time.time() - 3600,) * 2)
    assert run_command("camera", "test", tmp_path) == 1
    assert "error   drops: 1 came damaged (25%)" in capsys.readouterr().out


def test_a_source_that_is_not_there_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert "/dev/video99 does not exist" in refused(capfd, "camera", "test", "usb:99")
    said = refused(capfd, "camera", "test", str(FIELDS), "--save", FIELDS / "here")
    assert "whose images are read" in said
    assert not (FIELDS / "here").exists()
