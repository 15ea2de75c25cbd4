"""A folder into which a scanner drops images: each once, and only whole ones."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from qlvit_edge.camera import watched
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.camera.watched import WatchedFolder
from qlvit_edge.errors import CameraError, CameraStalledError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(watched, "DAMAGED_SECONDS", 0.4)


def picture(grey: int) -> bytes:
    noise = np.random.default_rng(grey).integers(-20, 20, (48, 64, 3))
    return cv2.imencode(".png", np.clip(noise + grey, 0, 255).astype(np.uint8))[1].tobytes()


@contextmanager
def scanner(*steps: Callable[[], object]) -> Iterator[None]:
    """Do one step after another while the folder is watched."""

    def work() -> None:
        for step in steps:
            time.sleep(0.15)
            step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def sources(camera: WatchedFolder) -> list[str]:
    with camera:
        return [frame.source for frame in camera.frames()]


def test_images_come_as_they_are_dropped_and_each_once(tmp_path: Path) -> None:
    (tmp_path / "z.png").write_bytes(picture(60))
    (tmp_path / "row").mkdir()
    camera = WatchedFolder(tmp_path, idle_seconds=0.6)
    with scanner(
        lambda: (tmp_path / "row" / "a.png").write_bytes(picture(90)),
        lambda: (tmp_path / "b.png").write_bytes(picture(120)),
    ):
        assert sources(camera) == ["z.png", "row/a.png", "b.png"]
    assert not camera.report.dropped


def test_a_half_written_image_waits_and_holds_up_no_other(tmp_path: Path) -> None:
    whole = picture(60)
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.png").write_bytes(picture(90))
    camera = WatchedFolder(tmp_path, idle_seconds=0.6)
    with scanner(
        lambda: (tmp_path / "a.png").write_bytes(whole[:-100]),
        lambda: (tmp_path / "a.png").write_bytes(whole),
    ):
        assert sources(camera) == ["b.png", "a.png"]
    assert not camera.report.dropped


def test_an_image_that_stays_half_is_damaged_until_it_is_mended(tmp_path: Path) -> None:
    whole = picture(60)
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    camera = WatchedFolder(tmp_path, idle_seconds=0.8)
    assert sources(camera) == []
    assert list(camera.report.damaged) == ["a.png"]
    assert camera.report.dropped == 1
    camera = WatchedFolder(tmp_path, idle_seconds=1.0)
    with scanner(lambda: time.sleep(0.5), lambda: (tmp_path / "a.png").write_bytes(whole)):
        assert sources(camera) == ["a.png"]
    assert camera.report.dropped == 1
    assert not camera.report.damaged


def test_another_image_of_the_same_name_counts_and_the_same_content_does_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(picture(60))
    notices: list[str] = []
    camera = WatchedFolder(tmp_path, idle_seconds=0.6)
    camera.report.listener = notices.append
    with scanner(
        lambda: path.write_bytes(picture(60)),
        lambda: path.write_bytes(picture(120)),
        lambda: path.touch(),
    ):
        assert sources(camera) == ["scan.png", "scan.png"]
    assert any("scan.png was replaced" in notice for notice in notices)


def test_a_file_that_is_renamed_or_copied_is_not_counted_again(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(picture(60))
    (tmp_path / "row").mkdir()
    notices: list[str] = []
    camera = WatchedFolder(tmp_path, idle_seconds=0.6)
    camera.report.listener = notices.append
    with scanner(
        lambda: (tmp_path / "scan.png").rename(tmp_path / "row" / "slide 7.png"),
        lambda: shutil.copy(tmp_path / "row" / "slide 7.png", tmp_path / "again.png"),
        lambda: (tmp_path / "scan.png").write_bytes(picture(120)),
    ):
        assert sources(camera) == ["scan.png", "scan.png"]
    said = [notice for notice in notices if "not counted again" in notice]
    assert said == [
        f"{name} is scan.png under another name, and is not counted again"
        for name in ("row/slide 7.png", "again.png")
    ]


def test_a_folder_that_goes_ends_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    with (
        scanner(lambda: folder.rename(tmp_path / "gone")),
        WatchedFolder(folder) as camera,
        pytest.raises(CameraStalledError, match="the folder is gone"),
    ):
        next(camera.frames())


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("watch:", "no folder is named; write watch:FOLDER"),
        ("watch:/no/such/folder", "no such folder"),
        ("watch:.?idle=soon", "idle='soon' is not a number"),
        ("watch:.?fps=3", "unknown setting 'fps'; use idle"),
    ],
)
def test_what_cannot_be_watched_is_refused(source: str, finding: str) -> None:
    with pytest.raises(CameraError) as caught:
        open_camera(source)
    assert finding in str(caught.value)
