"""What every kind of camera keeps: one contract, all adapters."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import fake_picamera2
import fake_v4l2
import numpy as np
import pytest
from accepting import Accepting
from mjpeg_server import mjpeg_server
from numpy.typing import NDArray

import qlvit_edge.bundled
from qlvit_edge.camera import base, opencv, watched
from qlvit_edge.camera.base import Camera, Frame
from qlvit_edge.camera.opencv import UsbCamera
from qlvit_edge.camera.picamera2 import PiCamera
from qlvit_edge.camera.settings import CameraSettings, Wanted
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.errors import CameraError, CameraStalledError
from qlvit_edge.microscope.pipeline import Pipeline
from qlvit_edge.preprocess import decode

Image = NDArray[np.uint8]
RED = fake_picamera2.RED
SIZE = (64, 48)
PASSWORD = "tiger"
FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"


@dataclass
class Made:
    """A camera before it is entered, and what to ask once it was left."""

    camera: Camera
    released: Callable[[], bool] = lambda: True


def red() -> Image:
    return np.full((SIZE[1], SIZE[0], 3), RED, np.uint8)


def write_images(folder: Path) -> None:
    """Images that differ by a pixel: the same one under another name is not taken again."""
    for number, name in enumerate("abcd"):
        pixels = red()[..., ::-1].copy()
        pixels[0, 0] = number
        assert cv2.imwrite(str(folder / f"{name}.png"), pixels)


@contextmanager
def picamera2(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Made]:
    fake = fake_picamera2.install(patch)
    yield Made(
        PiCamera(wanted=Wanted(size=SIZE, small=(32, 24))),
        lambda: fake.made[0].calls[-1] == "close" and fake.made[0].lent == 0,
    )


@contextmanager
def usb(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Made]:
    fake = fake_v4l2.install(patch)
    (folder / "video7").touch()
    (folder / "usb-Maker_Camera-video-index0").symlink_to(folder / "video7")
    yield Made(UsbCamera(folder / "usb-Maker_Camera-video-index0"), lambda: fake.made[0].released)


@contextmanager
def mjpeg(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Made]:
    with mjpeg_server(cv2.imencode(".jpg", red()[..., ::-1])[1].tobytes()) as host:
        yield Made(open_camera(f"http://user:{PASSWORD}@{host}/stream"))


@contextmanager
def video(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Made]:
    path = folder / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE)
    for _ in range(4):
        writer.write(red()[..., ::-1])
    writer.release()
    yield Made(open_camera(str(path)))


@contextmanager
def pictures(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Made]:
    write_images(folder)
    yield Made(open_camera(str(folder)))


@contextmanager
def watching(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Made]:
    patch.setattr(watched, "LOOK_SECONDS", 0.01)
    write_images(folder)
    yield Made(open_camera(f"watch:{folder}"))


@contextmanager
def simulated(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Made]:
    write_images(folder)
    yield Made(open_camera(f"simulated:{folder}?fps=0"))


KINDS = (picamera2, usb, mjpeg, video, pictures, watching, simulated)


@pytest.fixture(params=KINDS, ids=[kind.__name__ for kind in KINDS])
def made(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Made]:
    with ExitStack() as stack:
        yield stack.enter_context(request.param(tmp_path, monkeypatch))


def test_every_camera_keeps_the_contract(made: Made) -> None:
    threads = set(threading.enumerate())
    before = time.time(), time.monotonic()
    with made.camera as camera:
        frames = list(itertools.islice(camera.frames(), 3))
        kept = [frame.image.copy() for frame in frames]
        more = next(camera.frames(), None)
    assert len(frames) == 3
    assert more is None or more.index >= 0
    for frame in frames:
        check_image(frame)
        assert isinstance(frame.settings, CameraSettings)
        # Two clocks, one moment: that of the sensor, which may lie a little back.
        assert before[0] - 1 <= frame.timestamp <= time.time()
        assert before[1] - 1 <= frame.monotonic <= time.monotonic()
    for one, next_one in itertools.pairwise(frames):
        assert next_one.index > one.index
        assert next_one.monotonic >= one.monotonic
        assert next_one.timestamp >= one.timestamp
    # A frame is the taker's own: later ones are not written over it.
    assert all(np.array_equal(frame.image, copy) for frame, copy in zip(frames, kept, strict=True))
    assert not np.shares_memory(frames[0].image, frames[1].image)
    assert camera.report.dropped == 0
    assert PASSWORD not in f"{camera.name} {camera.identity} {camera.report.__dict__}"
    # Left means released: device, buffers, threads.
    assert made.released()
    left = {one for one in threading.enumerate() if one.name.startswith("camera ")} - threads
    assert not left


def check_image(frame: Frame) -> None:
    for image in (frame.image, frame.small):
        if image is None:
            continue
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert image.flags.owndata or image.base is not None
        assert np.abs(image.reshape(-1, 3).mean(0) - RED).max() < 15, "not RGB"
    if frame.source and frame.image.shape != (SIZE[1], SIZE[0], 3):
        assert frame.image.shape == (480, 640, 3)  # the simulated stage's own
    else:
        assert frame.image.shape == (SIZE[1], SIZE[0], 3)


# What only some of them have


def test_a_pi_camera_tells_its_settings_and_gives_a_small_picture_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_picamera2.install(monkeypatch)
    wanted = Wanted((100, 80), (50, 40), 4000.0, 1.5, (1.9, 1.6))
    with PiCamera(wanted=wanted) as camera:
        frame = next(camera.frames())
    assert frame.small is not None
    assert frame.small.shape == (40, 50, 3)
    assert frame.settings == CameraSettings(4000.0, 1.5, 1.9, 1.6, 4600.0, False)
    assert 0.004 <= time.monotonic() - frame.monotonic < 2.0
    assert "imx477" in camera.identity
    controls = fake_picamera2.FakePicamera2.made[0].wanted
    assert controls["AeEnable"] is False
    assert controls["AwbEnable"] is False


def test_settings_of_a_source_reach_the_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_picamera2.install(monkeypatch)
    source = "picamera2:0?size=128x96&exposure=5000&gain=2&white-balance=2.1,1.4"
    with open_camera(source) as camera:
        frame = next(camera.frames())
    assert frame.image.shape == (96, 128, 3)
    assert frame.settings == CameraSettings(5000.0, 2.0, 2.1, 1.4, 4600.0, False)
    assert fake.made[0].wanted["ColourGains"] == (2.1, 1.4)
    with open_camera("picamera2?size=64x48") as camera:
        assert next(camera.frames()).settings.automatic is True


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("picamera2:1", "there is no camera 1, only 1"),
        ("picamera2:x", "'x' is not a number"),
        ("picamera2?exposure=1", "ExposureTime 1 is out of its range; choose from 60"),
        ("picamera2?gain=0.5", "AnalogueGain 0.5 is out of its range"),
        ("picamera2?white-balance=1", "white-balance='1' is not of the form"),
        ("picamera2?size=0x0", "size='0x0' is not of the form"),
        ("picamera2?shutter=4", "unknown setting 'shutter'"),
    ],
)
def test_what_a_pi_camera_cannot_do_is_refused(
    source: str, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_picamera2.install(monkeypatch)
    with pytest.raises(CameraError) as caught, open_camera(source):
        pytest.fail("it opened")
    assert finding in str(caught.value)
    assert all(made.calls[-1] == "close" for made in fake.made)


def test_a_camera_without_controls_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_picamera2.install(monkeypatch)
    plain_start = fake.__init__

    def without(self: fake_picamera2.FakePicamera2, camera_num: int = 0) -> None:
        plain_start(self, camera_num)
        self.camera_controls = {}

    monkeypatch.setattr(fake, "__init__", without)
    with open_camera("picamera2?size=64x48") as camera:
        assert next(camera.frames()).image.shape == (48, 64, 3)
    with pytest.raises(CameraError, match="no control AeEnable"), open_camera("picamera2?gain=2"):
        pass


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(base, "LAST_WAIT", 0.05)


@pytest.mark.usefixtures("hasty")
def test_a_request_is_given_back_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_picamera2.install(monkeypatch)
    monkeypatch.setattr(fake, "array_error", RuntimeError("no memory"))
    with (
        pytest.raises(CameraStalledError, match=r"it failed \(no memory\)"),
        PiCamera(wanted=Wanted(size=SIZE), stall_seconds=0.4) as camera,
    ):
        next(camera.frames())
    assert len(fake.made) > 1  # it was tried again
    for made in fake.made:
        assert made.lent == 0
        assert made.calls[-2:] == ["stop", "close"]


def test_a_usb_camera_tells_what_its_driver_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_v4l2.install(monkeypatch)
    device = tmp_path / "video0"
    device.touch()
    with UsbCamera(device) as camera:
        frame = next(camera.frames())
    assert frame.settings == CameraSettings(15_700.0, 64.0, None, None, 4600.0, True)
    monkeypatch.setattr(fake, "properties", {})
    with UsbCamera(device) as camera:
        assert next(camera.frames()).settings == CameraSettings()
    monkeypatch.setattr(fake, "properties", {cv2.CAP_PROP_AUTO_EXPOSURE: 1.0})
    with UsbCamera(device) as camera:
        assert next(camera.frames()).settings.automatic is False


def test_a_usb_camera_gives_the_size_asked_for_or_says_which_it_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_v4l2.install(monkeypatch)
    device = tmp_path / "video0"
    device.touch()
    with UsbCamera(device, wanted=Wanted(size=(128, 96))) as camera:
        assert next(camera.frames()).image.shape == (96, 128, 3)
    with (
        pytest.raises(CameraError, match="it gives 64x48 pixels, not 99x99; write size=64x48"),
        UsbCamera(device, wanted=Wanted(size=(99, 99))),
    ):
        pass
    assert all(one.released for one in fake.made)


@pytest.mark.parametrize(
    ("formats", "taken"),
    [
        (("YUYV", "RGB3"), "YUYV"),
        (("BGR3", "RGB3"), "RGB3"),
        (("BGR3", "422P", "NV12"), "NV12"),
    ],
)
def test_a_usb_camera_is_asked_for_a_format_that_becomes_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formats: tuple[str, ...], taken: str
) -> None:
    fake = fake_v4l2.install(monkeypatch)
    monkeypatch.setattr(fake, "formats", formats)
    monkeypatch.setattr(fake, "undecoded", ("BGR3", "422P"))
    device = tmp_path / "video0"
    device.touch()
    with UsbCamera(device, wanted=Wanted(size=(128, 96))) as camera:
        frame = next(camera.frames())
    assert frame.image.shape == (96, 128, 3)
    assert frame.image[0, 0].tolist() == [200, 40, 20]
    assert [one.format for one in fake.made] == [taken]


def test_a_usb_camera_without_such_a_format_gives_no_frame_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_v4l2.install(monkeypatch)
    monkeypatch.setattr(fake, "formats", ("BGR3",))
    monkeypatch.setattr(fake, "undecoded", ("BGR3",))
    device = tmp_path / "video0"
    device.touch()
    camera = UsbCamera(device, stall_seconds=0.3)
    with (
        camera,
        pytest.raises(CameraStalledError, match="no picture can be made of its format BGR3"),
    ):
        next(camera.frames())


@pytest.mark.usefixtures("hasty")
def test_a_pi_camera_that_fails_and_comes_back_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_picamera2.install(monkeypatch)
    with PiCamera(wanted=Wanted(size=SIZE), stall_seconds=5.0) as camera:
        before = next(camera.frames())
        monkeypatch.setattr(fake, "start_error", RuntimeError("no such device"))
        monkeypatch.setattr(fake, "array_error", RuntimeError("timed out"))
        while len(fake.made) < 3:  # it is opened again, and is not there yet
            time.sleep(0.005)
        monkeypatch.setattr(fake, "array_error", None)
        monkeypatch.setattr(fake, "start_error", None)
        while camera.report.reconnections == 0:
            next(camera.frames())
        after = next(camera.frames())
    assert after.index > before.index
    assert camera.report.reconnections == 1
    assert all(made.lent == 0 for made in fake.made)


@pytest.mark.usefixtures("hasty")
def test_a_cable_that_is_plugged_in_again_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_v4l2.install(monkeypatch)
    device = tmp_path / "video0"
    device.touch()
    notices: list[str] = []
    with UsbCamera(device, stall_seconds=3.0) as camera:
        camera.report.listener = notices.append
        before = next(camera.frames())
        device.unlink()
        monkeypatch.setattr(fake, "unplugged", True)
        while not notices:
            time.sleep(0.01)
        monkeypatch.setattr(fake, "unplugged", False)
        device.touch()
        while camera.report.reconnections == 0:
            next(camera.frames())
        after = next(camera.frames())
    assert after.index > before.index
    assert camera.report.reconnections == 1
    assert "it stopped giving frames; it is tried again for 3 s" in notices[0]
    assert "connected again" in notices[-1]
    assert all(one.released for one in fake.made)


@pytest.mark.usefixtures("hasty")
def test_another_camera_in_the_place_of_the_lost_one_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_v4l2.install(monkeypatch)
    device = tmp_path / "video0"
    device.touch()
    names = iter(["first", *["second"] * 1000])
    monkeypatch.setattr(opencv, "identity_of", lambda _: next(names))
    with UsbCamera(device, stall_seconds=0.6) as camera:
        next(camera.frames())
        monkeypatch.setattr(fake, "unplugged", True)
        time.sleep(0.1)
        monkeypatch.setattr(fake, "unplugged", False)
        frames = camera.frames()
        with pytest.raises(CameraStalledError, match="another camera is in its place: second"):
            list(frames)  # some were taken before
    assert camera.report.reconnections == 0


def test_cells_are_looked_for_in_the_small_picture_and_cut_out_of_the_large_one() -> None:
    large = decode(sorted(FIELDS.glob("*.jpg"))[0])
    small = np.asarray(cv2.resize(large, (320, 240), interpolation=cv2.INTER_AREA), np.uint8)
    answers = [Accepting(), Accepting()]
    alone, both = (
        Pipeline(one).process(Frame(large, 0, 0.0, small=picture))  # type: ignore[arg-type]
        for one, picture in zip(answers, (None, small), strict=True)
    )
    assert len(alone) == len(both) == 2
    for one, other in zip(alone, both, strict=True):
        assert np.abs(np.subtract(one.cell.centre, other.cell.centre)).max() < 12
        assert other.cell.width == pytest.approx(one.cell.width, rel=0.1)
        assert other.cell.area == pytest.approx(one.cell.area, rel=0.15)
        assert other.cell.cut == one.cell.cut
        assert other.cell.x + other.cell.width <= 640
    # Detail of the large picture: a crop of the small one would have half as many pixels.
    assert answers[1].shown[0].shape[0] == pytest.approx(answers[0].shown[0].shape[0], rel=0.1)
