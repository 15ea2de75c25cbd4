"""Every kind of camera: what it gives, and what it says when it is not there or stops."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import fake_picamera2
import numpy as np
import pytest
from fake_picamera2 import FakePicamera2
from numpy.typing import NDArray

import qlvit_edge.bundled
from qlvit_edge.camera.base import Frame, LiveCamera
from qlvit_edge.camera.folder import PictureCamera
from qlvit_edge.camera.paced import developed
from qlvit_edge.camera.picamera2 import PiCamera
from qlvit_edge.camera.settings import Wanted
from qlvit_edge.camera.simulated import MOVE_FRAMES, REST_FRAMES, SimulatedCamera
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.camera.video import VideoFileCamera
from qlvit_edge.errors import CameraError, CameraStalledError
from qlvit_edge.preprocess import decode

Image = NDArray[np.uint8]
FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
RED = (200, 40, 20)


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (48, 64)) -> Image:
    return np.full((*size, 3), colour, np.uint8)


def write(path: Path, image: Image) -> None:
    assert cv2.imwrite(str(path), image[..., ::-1])


def near(image: Image, colour: tuple[int, int, int]) -> bool:
    """Colours after lossy coding."""
    return bool(np.abs(image.reshape(-1, 3).mean(axis=0) - colour).max() < 8)


# Folders


def test_a_folder_gives_its_images_by_name_and_ends(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "1.png", plain((0, 0, 255)))
    write(tmp_path / "a.png", plain(RED))
    (tmp_path / "notes.txt").write_text("no image")
    with open_camera(str(tmp_path)) as camera:
        frames = list(camera.frames())
    assert [frame.source for frame in frames] == ["a.png", "b/1.png"]
    assert [frame.index for frame in frames] == [0, 1]
    assert tuple(frames[0].image[0, 0]) == RED
    assert frames[0].image.dtype == np.uint8
    assert abs(frames[0].timestamp - time.time()) < 60


def damaged(path: Path, content: bytes) -> Path:
    """A damaged file that nobody has written to for an hour: it is no half copy."""
    path.write_bytes(content)
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def test_a_folder_goes_on_past_damaged_images_and_names_them(tmp_path: Path) -> None:
    for name in ("a.png", "d.png"):
        write(tmp_path / name, plain(RED))
    damaged(tmp_path / "b.png", (tmp_path / "a.png").read_bytes()[:60])
    damaged(tmp_path / "c.png", b"")
    with open_camera(str(tmp_path)) as camera:
        frames = list(camera.frames())
    assert [(frame.source, frame.index) for frame in frames] == [("a.png", 0), ("d.png", 3)]
    assert list(camera.report.damaged) == ["b.png", "c.png"]
    assert "truncated" in camera.report.damaged["b.png"]
    assert "empty" in camera.report.damaged["c.png"]
    assert camera.report.dropped == 2


def test_a_half_copied_image_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "whole.png", plain(RED))
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:50])

    def copy_on() -> None:
        for end in (70, 90, len(content)):
            time.sleep(0.15)
            (tmp_path / "a.png").write_bytes(content[:end])

    copying = threading.Thread(target=copy_on)
    copying.start()
    with open_camera(str(tmp_path)) as camera:
        assert [frame.source for frame in camera.frames()] == ["a.png", "whole.png"]
    copying.join()
    assert not camera.report.dropped


def test_links_are_followed_and_lead_in_no_circle(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real" / "a.png", plain(RED))
    day = tmp_path / "day"
    day.mkdir()
    (day / "monday").symlink_to(tmp_path / "real")
    (day / "one.png").symlink_to(tmp_path / "real" / "a.png")
    (day / "circle").symlink_to(day)
    (day / "gone.png").symlink_to(tmp_path / "nothing.png")
    (day / "self.png").symlink_to(day / "self.png")
    notices: list[str] = []
    camera = open_camera(str(day))
    camera.report.listener = notices.append
    with camera:
        assert [frame.source for frame in camera.frames()] == ["monday/a.png", "one.png"]
    assert any("circle" in notice for notice in notices)
    assert any("2 links to nothing (gone.png, self.png)" in notice for notice in notices)


def test_what_is_passed_over_is_named_with_its_remedy(tmp_path: Path) -> None:
    write(tmp_path / "a.png", plain(RED))
    for name in ("1.webp", "2.WEBP", "scan.czi", "slide.svs", "x.heic", ".b.png", "._a.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "scan0001").write_bytes((tmp_path / "a.png").read_bytes())
    notices: list[str] = []
    camera = open_camera(str(tmp_path))
    camera.report.listener = notices.append
    with camera:
        pass
    said = "\n".join(notices)
    assert "2 WebP images (1.webp, 2.WEBP); convert to PNG or JPEG" in said
    assert "a microscope program's file (scan.czi); export" in said
    assert "a whole-slide image (slide.svs); export fields" in said
    assert "an image without a usual ending (scan0001); rename with .jpg" in said
    assert "a hidden image (.b.png); rename" in said
    assert "._a" not in said
    (tmp_path / "a.png").unlink()
    with pytest.raises(CameraError, match=r"holds no image; .*2 WebP images"):
        open_camera(str(tmp_path))


def test_one_image_is_a_camera_that_honours_its_orientation(tmp_path: Path) -> None:
    image = plain(RED)
    image[:, :20] = 255
    jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    path = tmp_path / "cell.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    with open_camera(str(path)) as camera:
        (frame,) = camera.frames()
    assert frame.source == "cell.jpg"
    assert frame.image.shape == (64, 48, 3)
    assert np.array_equal(frame.image, decode(path))
    assert near(frame.image[:20], (255, 255, 255))


def test_one_image_is_told_by_its_content_too(tmp_path: Path) -> None:
    write(tmp_path / "a.png", plain(RED))
    (tmp_path / "a").write_bytes((tmp_path / "a.png").read_bytes())
    with open_camera(str(tmp_path / "a")) as camera:
        assert len(list(camera.frames())) == 1
    (tmp_path / "a.webp").write_bytes(b"RIFF")
    with pytest.raises(CameraError, match="a WebP image; convert"):
        open_camera(str(tmp_path / "a.webp"))


def test_hidden_files_and_folders_are_no_images(tmp_path: Path) -> None:
    write(tmp_path / "a.png", plain(RED))
    (tmp_path / "._a.jpg").write_bytes(b"what macOS leaves behind")
    (tmp_path / ".thumbnails").mkdir()
    write(tmp_path / ".thumbnails" / "a.png", plain(RED))
    with open_camera(str(tmp_path)) as camera:
        assert [frame.source for frame in camera.frames()] == ["a.png"]


@pytest.mark.parametrize("form", ["{}", "simulated:{}"])
def test_a_name_that_is_not_utf8_is_refused_in_one_line(tmp_path: Path, form: str) -> None:
    write(tmp_path / "a.png", plain(RED))
    odd = os.fsencode(tmp_path) + b"/b\xff.png"
    with open(odd, "wb") as stream:
        stream.write((tmp_path / "a.png").read_bytes())
    with pytest.raises(CameraError, match="is not UTF-8; rename it") as caught:
        open_camera(form.format(tmp_path))
    str(caught.value).encode()


@pytest.mark.parametrize("form", ["{}", "simulated:{}?fps=0"])
def test_unusual_images_are_counted_once(tmp_path: Path, form: str) -> None:
    grey = np.full((48, 64), 90, np.uint8)
    assert cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 257)
    write(tmp_path / "plain.png", plain(RED))
    with open_camera(form.format(tmp_path)) as camera:
        assert isinstance(camera, PictureCamera)
        assert len(list(itertools.islice(camera.frames(), 80))) in (3, 80)
    assert camera.unusual == {"grey": 2, "16 bit": 1}


# What is not there


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("usb:99", "/dev/video99 does not exist"),
        ("usb:", "is not a number"),
        ("usb:one", "is not a number"),
        ("usb:-1", "is not a number"),
        ("ubs:0", "simulated:FOLDER"),
        ("picamera", "simulated:FOLDER"),
        ("", "no such camera"),
        ("none.mp4", "no such camera"),
        ("simulated:", "no folder is named"),
        ("simulated:/no/such/folder", "no such folder"),
        ("simulated:.?sede=1", "unknown setting 'sede'"),
        ("simulated:.?seed=x", "is not a number"),
        ("simulated:.?fps=-1", "is not a number"),
        ("simulated:.?size=9x9", "is not of the form"),
        ("simulated:.?size=9000x100", "too large to simulate"),
        ("http://127.0.0.1:9/stream", "no video stream answers"),
    ],
)
def test_a_camera_that_is_not_there_is_said_in_one_line(source: str, finding: str) -> None:
    with pytest.raises(CameraError) as caught, open_camera(source):
        pytest.fail("it opened")
    assert finding in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    for source in (str(tmp_path), f"simulated:{tmp_path}"):
        with pytest.raises(CameraError, match="holds no image"):
            open_camera(source)


def test_native_libraries_keep_quiet_about_what_is_not_there(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(bytes(range(256)) * 20)
    code = (
        "import sys\n"
        "from qlvit_edge.camera.sources import open_camera\n"
        "from qlvit_edge.errors import CameraError\n"
        "for source in sys.argv[1:]:\n"
        "    try:\n"
        "        with open_camera(source) as camera: list(camera.frames())\n"
        "    except CameraError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(garbage), "http://127.0.0.1:9/x"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "not a video" in done.stdout
    assert "no video stream" in done.stdout


# Video files


def test_a_video_file_gives_every_frame_in_rgb(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for colour in (RED, (20, 200, 40)):
        writer.write(plain(colour)[..., ::-1])
    writer.release()
    with open_camera(str(path)) as camera:
        assert isinstance(camera, VideoFileCamera)
        frames = list(camera.frames())
    assert len(frames) == 2
    assert near(frames[0].image, RED)
    assert near(frames[1].image, (20, 200, 40))
    assert [(frame.index, frame.position_ms) for frame in frames] == [
        (0, pytest.approx(0)),
        (1, pytest.approx(100)),
    ]


@pytest.mark.parametrize(("ending", "code"), [("avi", "MJPG"), ("mkv", "MJPG"), ("mp4", "mp4v")])
def test_a_video_that_was_cut_is_said_after_its_last_frame(
    tmp_path: Path, ending: str, code: str
) -> None:
    path = tmp_path / f"film.{ending}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(45):
        writer.write(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    writer.release()
    with open_camera(str(path)) as camera:
        assert len(list(camera.frames())) == 45
    if ending == "mp4":  # its index comes last: a cut one does not open
        return
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    given: list[Frame] = []
    with (
        open_camera(str(path)) as camera,
        pytest.raises(CameraStalledError, match=r"ends after 2\d of 45 frames"),
    ):
        given.extend(camera.frames())
    assert 20 <= len(given) < 30


def film(path: Path, code: str, count: int = 30) -> list[Image]:
    """Write a film of a moving picture; return it as it is read before anything happens to it."""
    noise = np.random.default_rng(0).integers(0, 255, (96, 400, 3), dtype=np.uint8)
    scene = cv2.GaussianBlur(noise, (0, 0), 2)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (128, 96))
    for place in range(count):
        writer.write(np.ascontiguousarray(scene[:, 4 * place : 4 * place + 128]))
    writer.release()
    with open_camera(str(path)) as camera:
        frames = [frame.image for frame in camera.frames()]
    assert len(frames) == count
    assert not camera.report.dropped
    return frames


@pytest.mark.parametrize(
    ("ending", "code"), [("avi", "MJPG"), ("mp4", "mp4v"), ("avi", "XVID"), ("mkv", "FFV1")]
)
def test_damaged_frames_of_a_video_are_dropped_and_counted(
    tmp_path: Path, ending: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"film.{ending}"
    whole = film(path, code)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if code == "MJPG":  # the end of one picture never came
        middle = content.find(b"\xff\xd9", middle)
        content[middle - 4 : middle + 2] = bytes(6)
    else:
        for place in range(middle - 40, middle + 40, 3):
            content[place] ^= 0x5A
    path.write_bytes(content)
    with open_camera(str(path)) as camera:
        frames = list(camera.frames())
    assert camera.report.dropped >= 1
    assert len(frames) + camera.report.dropped in (29, 30)
    assert len(frames) >= 10
    # No frame that is given differs from what was filmed, at the time that it says.
    for frame in frames:
        assert frame.position_ms is not None
        assert np.array_equal(frame.image, whole[round(frame.position_ms / 100)])
    assert capfd.readouterr() == ("", "")


# Live cameras in general


class Scripted(LiveCamera):
    """Gives numbered frames, then does what it is told."""

    def __init__(self, count: int, then: Any, stall_seconds: float = 0.3) -> None:
        super().__init__("scripted", stall_seconds=stall_seconds)
        self.numbers = itertools.count()
        self.count, self.then = count, then
        self.closed = False

    def _start(self) -> None:
        pass

    def _read(self) -> Image | None:
        number = next(self.numbers)
        if number >= self.count:
            result: Image | None = self.then()
            return result
        return plain((number, 0, 0))

    def _close(self) -> None:
        self.closed = True


def test_only_the_newest_frame_waits() -> None:
    release = threading.Event()

    def wait() -> None:
        release.wait(5)

    with Scripted(200, wait, stall_seconds=5.0) as camera:
        deadline = time.monotonic() + 5
        while next(camera.numbers) < 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        frame = next(camera.frames())
        release.set()
    assert frame.image[0, 0, 0] > 100
    assert frame.index > 50
    assert camera.closed


def test_a_driver_that_never_returns_does_not_hang_the_program() -> None:
    release = threading.Event()

    def hang() -> None:
        release.wait(10)

    with Scripted(0, hang) as camera, pytest.raises(CameraStalledError, match="no frame for"):
        next(camera.frames())
    release.set()


def test_an_unplugged_camera_gives_its_last_frame_then_the_error() -> None:
    def fail() -> None:
        raise OSError("device gone")

    with Scripted(1, fail) as camera:
        frames = camera.frames()
        assert next(frames).index == 0
        with pytest.raises(CameraStalledError, match="device gone"):
            next(frames)
    assert camera.closed


# The simulated microscope


def views(seed: int, count: int = 12) -> list[Image]:
    with open_camera(f"simulated:{FIELDS}?seed={seed}&fps=0") as camera:
        return [frame.image for frame in itertools.islice(camera.frames(), count)]


def test_a_seed_gives_the_same_frames_and_another_one_others() -> None:
    first = views(3)
    assert all(np.array_equal(a, b) for a, b in zip(first, views(3), strict=True))
    assert not np.array_equal(first[0], views(4)[0])


@pytest.mark.parametrize("stage", ["motor", "hand"])
def test_simulated_frames_have_the_size_that_was_asked_for(stage: str) -> None:
    with open_camera(f"simulated:{FIELDS}?fps=0&size=320x200&stage={stage}") as camera:
        assert next(camera.frames()).image.shape == (200, 320, 3)


def test_the_next_view_is_made_while_the_last_one_is_worked_on() -> None:
    made, second = list[int](), threading.Event()

    class Noting(SimulatedCamera):
        def view(self, index: int) -> tuple[Image, str]:
            made.append(index)
            if index == 1:
                second.set()
            return plain(RED), ""

    before = threading.active_count()
    frames = Noting(FIELDS, fps=0).frames()
    assert next(frames).index == 0
    assert second.wait(5)
    assert [next(frames).index for _ in range(3)] == [1, 2, 3]
    frames.close()
    assert made == sorted(set(made))
    assert len(made) <= 5
    assert threading.active_count() == before


@pytest.mark.parametrize("shaded", [False, True])
def test_a_sensor_adds_one_noise_to_light_times_gain(shaded: bool) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (150, 40, 3), np.uint8)
    gain = np.array([1.05, 1.0, 0.97], np.float32)
    noise = rng.standard_normal((150, 40), np.float32) * np.float32(2)
    shade = rng.uniform(0.8, 1, (150, 40)).astype(np.float32) if shaded else None
    light = image * gain * (np.float32(1) if shade is None else shade[..., None])
    wanted = np.clip(np.rint(light + noise[..., None]), 0, 255).astype(np.uint8)
    assert np.array_equal(developed(image, gain, noise, shade), wanted)


def test_the_stage_visits_every_field_and_rests_there() -> None:
    camera = SimulatedCamera(FIELDS, seed=1, fps=0)
    count = len(list(FIELDS.glob("*.jpg")))
    period = REST_FRAMES + MOVE_FRAMES
    seen = [camera.view(step * period)[1] for step in range(count)]
    assert sorted(seen) == sorted(path.name for path in FIELDS.glob("*.jpg"))
    resting, source = camera.view(REST_FRAMES - 1)
    assert source == seen[0]
    original = decode(FIELDS / source)
    assert resting.shape == original.shape
    # The same field: only slightly shifted, blurred and lit differently.
    small = [
        cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA) for image in (resting, original)
    ]
    assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] > 0.9


def test_the_stage_moves_smoothly() -> None:
    images = [image.astype(np.float64) for image in views(0, REST_FRAMES + MOVE_FRAMES + 1)]
    change = [np.abs(b - a).mean() for a, b in itertools.pairwise(images)]
    assert min(change) > 0.5
    assert max(change[: REST_FRAMES - 1]) < min(change[REST_FRAMES - 1 :])


def test_frames_are_paced() -> None:
    camera = SimulatedCamera(FIELDS, fps=20.0)
    frames = camera.frames()
    next(frames)
    started = time.monotonic()
    list(itertools.islice(frames, 5))
    assert 0.24 <= time.monotonic() - started < 2.0


# The Raspberry Pi's camera, against a stand-in with picamera2's interface


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera2]:
    return fake_picamera2.install(monkeypatch)


def test_the_pi_camera_gives_rgb_and_is_released(pi: type[FakePicamera2]) -> None:
    with PiCamera(wanted=Wanted(size=(64, 48))) as camera:
        frame = next(camera.frames())
    assert frame.image.shape == (48, 64, 3)
    assert tuple(frame.image[0, 0]) == RED
    assert pi.made[0].calls == ["configure", "start", "stop", "close"]


def test_a_pi_without_a_camera_is_said(
    pi: type[FakePicamera2], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pi, "infos", [])
    with pytest.raises(CameraError, match="no camera is connected"), open_camera("picamera2"):
        pass


def test_a_pi_camera_in_use_is_said_and_closed(
    pi: type[FakePicamera2], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pi, "start_error", RuntimeError("Failed to acquire camera"))
    with pytest.raises(CameraError, match="Failed to acquire"), open_camera("picamera2"):
        pass
    assert pi.made[0].calls[-1] == "close"


def test_without_picamera2_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with (
        pytest.raises(CameraError, match="--system-site-packages"),
        open_camera("picamera2"),
    ):
        pass
