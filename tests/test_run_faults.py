"""What goes wrong beside a run does not end it: too many frames, full disks, a wrong clock."""

from __future__ import annotations

import itertools
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from results_rows import rows
from scripted_camera import Scripted
from tiny_metadata import plain_image, tiny_file

import qlvit_edge.bundled
from qlvit_edge.camera import base
from qlvit_edge.cli.run import command
from qlvit_edge.errors import CameraError, DeviceError
from qlvit_edge.inference.watchdog import Watchdog
from qlvit_edge.microscope import losses, pictures
from qlvit_edge.microscope import session as session_module
from qlvit_edge.microscope import writer as writer_module
from qlvit_edge.microscope.pipeline import Pipeline, Sight
from qlvit_edge.microscope.session import Session
from qlvit_edge.microscope.settings import Settings
from qlvit_edge.microscope.stopping import StopRequest
from qlvit_edge.page.state import View

FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
SECONDS = 20.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    folder = tmp_path / "fields"
    folder.mkdir()
    for path in sorted(FIELDS.glob("*.jpg"))[:3]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    """Nine small pictures, to be classified as they are."""
    folder = tmp_path / "dots"
    folder.mkdir()
    for number in range(9):
        cv2.imwrite(str(folder / f"{number}.png"), plain_image("RED", size=16))
    return folder


def live_session(
    model: Path, out: Path, camera: Any, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> Session:
    monkeypatch.setattr(session_module, "open_camera", lambda source, wanted: camera)
    return Session(Settings(str(model), "scripted", out, find="none", **settings))


def go(session: Session, after_frame: Callable[[], None] = lambda: None) -> list[str]:
    said: list[str] = []
    try:
        with StopRequest() as stop:
            session.run(stop, opened=lambda: None, after_frame=after_frame, note=said.append)
    finally:
        session.classifier.close()
    return said


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_frames_that_nobody_had_time_for_are_counted_shown_and_stored(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, out = Scripted(40), tmp_path / "r.sqlite"
    session = live_session(model, out, camera, monkeypatch)
    camera.turns.release()

    def more() -> None:
        """While a frame is answered, nine more come: one waits, one is looked at."""
        if session.frames == 0 and camera.report.overtaken == 0:
            camera.turns.release(9)
            until(lambda: camera.report.overtaken >= 6)
            camera.turns.release(30)

    go(session, more)
    lost = camera.report.overtaken
    assert lost >= 6
    assert session.losses() == {"overtaken": lost}
    assert session.frames == 40 - lost
    numbers = [number for (number,) in rows(out, "SELECT number FROM frames ORDER BY id")]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 39  # the newest one is never left out
    assert rows(out, "SELECT * FROM losses") == [(1, "overtaken", lost)]
    assert session.incomplete is False
    summary = session.summary()
    assert summary is not None
    assert summary.losses == {"overtaken": lost}


def test_a_live_camera_does_not_wait_for_a_disk_that_does_not_follow(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, out = Scripted(60), tmp_path / "r.sqlite"
    session = live_session(model, out, camera, monkeypatch)
    held, note_down = threading.Event(), session._note_down

    def slowly(*arguments: Any) -> Any:
        assert held.wait(SECONDS)
        return note_down(*arguments)

    def feed() -> None:
        while session.held_up < 3:
            camera.turns.release()
            time.sleep(0.01)
        shown = session.newest
        assert shown is not None
        newest.append(shown[0].index)
        held.set()
        camera.turns.release(60)

    newest: list[int] = []
    monkeypatch.setattr(session, "_note_down", slowly)
    feeder = threading.Thread(target=feed)
    feeder.start()
    go(session)
    feeder.join()
    assert session.losses()["storage"] == session.held_up >= 3
    assert session.frames + sum(session.losses().values()) == 60
    assert newest[0] > 5  # what is shown goes on: one stored, four waiting


def test_a_folder_waits_and_loses_nothing(
    model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(Settings(str(model), str(dots), tmp_path / "r", find="none"))
    note_down = session._note_down

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.03)
        return note_down(*arguments)

    monkeypatch.setattr(session, "_note_down", slowly)
    go(session)
    assert (session.frames, session.losses()) == (9, {})
    assert [n for (n,) in rows(tmp_path / "r", "SELECT number FROM frames")] == list(range(9))
    assert rows(tmp_path / "r", "SELECT name FROM sqlite_master WHERE name = 'losses'") == []


def test_the_next_frame_is_looked_at_while_one_is_answered(
    model: Path, fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = itertools.count()
    ahead = [threading.Event() for _ in range(4)]
    look, answer = Pipeline.look, Pipeline.answer

    def look_and_say(self: Pipeline, frame: Any) -> Sight:
        ahead[next(looked)].set()
        return look(self, frame)

    def answer_late(self: Pipeline, sight: Sight) -> Any:
        after = ahead[sight.frame.index + 1]
        assert sight.frame.index == 2 or after.wait(SECONDS)
        return answer(self, sight)

    monkeypatch.setattr(Pipeline, "look", look_and_say)
    monkeypatch.setattr(Pipeline, "answer", answer_late)
    session = Session(Settings(str(model), str(fields), tmp_path / "r.sqlite"))
    go(session)
    assert session.frames == 3


def test_a_count_that_is_full_waits_for_no_frame(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Scripted(5)
    session = live_session(model, tmp_path / "r.sqlite", camera, monkeypatch, stop_at=1)
    camera.turns.release()
    began = time.monotonic()
    go(session)
    camera.turns.release()
    assert time.monotonic() - began < SECONDS / 2
    assert (session.frames, session.outcome) == (1, "counted")


def test_what_was_looked_at_ahead_of_the_last_frame_is_not_counted(
    model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, look, answer = threading.Event(), Pipeline.look, Pipeline.answer

    def look_and_say(self: Pipeline, frame: Any) -> Sight:
        if frame.index == 1:
            ahead.set()
        return look(self, frame)

    def answer_late(self: Pipeline, sight: Sight) -> Any:
        assert ahead.wait(SECONDS)
        return answer(self, sight)

    monkeypatch.setattr(Pipeline, "look", look_and_say)
    monkeypatch.setattr(Pipeline, "answer", answer_late)
    out = tmp_path / "r.sqlite"
    session = Session(Settings(str(model), str(dots), out, find="none", stop_at=1))
    go(session)
    assert (session.frames, session.outcome, session.losses()) == (1, "counted", {})
    assert rows(out, "SELECT number FROM frames") == [(0,)]


def disk(free: int, total: int = 10**11) -> Callable[[Path], SimpleNamespace]:
    return lambda _: SimpleNamespace(free=free, total=total)


@pytest.mark.parametrize("option", ["--save", "--keep"])
def test_pictures_stop_before_the_disk_is_full_and_counts_go_on(
    option: str, model: Path, fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10**9, *[9 * 10**7] * 10])
    monkeypatch.setattr(pictures, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(pictures.shutil, "disk_usage", lambda _: disk(next(free))(_))
    out, seen = tmp_path / "r.sqlite", tmp_path / "seen"
    options = [str(model), "--camera", str(fields), "--out", str(out), option, str(seen)]
    done = CliRunner().invoke(command, options, catch_exceptions=False)
    assert done.exit_code == 0
    assert rows(out, "SELECT count(*), count(saved_as) + count(kept_as) FROM frames") == [(3, 1)]
    assert len(list(seen.iterdir())) == 1
    said = f"{seen}: only 90 MB are left on its disk, for the results"
    assert done.stderr.count(f"note: {said}") == 1
    assert "no more pictures are saved, counting goes on" in done.stderr
    assert f"warning: {said}" in done.stderr


def test_pictures_leave_a_tenth_of_a_small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    settings = Settings("m", "c", Path("r"), save=Path("seen"))
    for free, stops in ((3 * 10**6, False), (10**6, True)):
        saver = pictures.Pictures(settings, ["a"], None, said.append)
        monkeypatch.setattr(pictures.shutil, "disk_usage", disk(free, 2 * 10**7))
        saver._look()
        assert (saver.stopped is not None) == stops
    assert len(said) == 1


def test_pictures_that_cannot_be_saved_end_the_pictures_and_not_the_run(
    model: Path, fields: Path, tmp_path: Path
) -> None:
    out, seen = tmp_path / "r.sqlite", tmp_path / "seen"
    session = Session(Settings(str(model), str(fields), out, find="none", save=seen))
    said: list[str] = []
    with StopRequest() as stop:
        session.run(stop, opened=seen.rmdir, after_frame=lambda: None, note=said.append)
    session.classifier.close()
    assert (session.frames, session.outcome) == (3, "finished")
    (text,) = said
    assert "cannot be saved (no such file or directory)" in text
    assert session.pictures_stopped is not None
    assert session.pictures_stopped in text


def test_a_run_whose_runtime_never_comes_back_can_be_stopped_and_stores_its_frame(
    model: Path, fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.sqlite"
    session = Session(Settings(str(model), str(fields), out, find="none"))
    broken = DeviceError("runtime", "it is gone", "wait")
    stops: list[StopRequest] = []
    tries = itertools.count()

    def fail(*_: Any) -> Any:
        if next(tries) == 3:
            stops[0].requested = signal.SIGTERM
        raise broken

    def infer(self: Watchdog, pixels: np.ndarray) -> Any:
        monkeypatch.setattr(session.classifier, "infer", fail)
        monkeypatch.setattr(session.classifier, "restart", fail)
        return real(self, pixels)

    real = Watchdog.infer
    monkeypatch.setattr(Watchdog, "infer", infer)
    with StopRequest() as stop:
        stops.append(stop)
        session.run(stop, opened=lambda: None, after_frame=lambda: None, note=lambda _: None)
    session.classifier.close()
    assert session.outcome == "stopped"
    assert session.losses() == {"runtime": session.frames}
    assert 1 <= session.frames <= 3
    assert rows(out, "SELECT count(*) FROM frames WHERE unfit IS NOT NULL") == [(session.frames,)]


class Leaving(Scripted):
    """A live camera whose connection is lost before its third frame, and which comes back late."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.turns = threading.Semaphore(count)
        self.given, self.starts = 0, 0

    def _start(self) -> None:
        self.starts += 1
        if self.starts == 2:
            raise CameraError(self.name, "not there", "plug it in")

    def _read(self) -> np.ndarray | None:
        if self.given == 2 and self.starts < 3:
            return None
        self.given += 1
        return super()._read()

    def _recover(self, trouble: str) -> bool:
        return self._reopen(trouble)


def test_a_camera_that_vanishes_and_comes_back_goes_on_in_the_same_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "FIRST_WAIT", 0.02)
    camera = Leaving(12)
    session = live_session(model, tmp_path / "r.sqlite", camera, monkeypatch)
    said = go(session)
    assert session.outcome == "finished"
    assert camera.starts == 3
    assert session.summary().reconnections == 1  # type: ignore[union-attr]
    assert session.frames >= 1
    assert [text for text in said if "it is tried again" in text]
    assert "scripted: connected again" in said


def test_a_clock_that_is_set_turns_nothing_around(
    model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, day, steps = 0.0, time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: day() + moved)
    monkeypatch.setattr(writer_module, "CHECK_SECONDS", 0.0)
    out = tmp_path / "r.sqlite"
    session = Session(Settings(str(model), str(dots), out, find="none"))
    ages: list[float] = []

    def set_the_clock() -> None:
        nonlocal moved
        moved = {2: -3600.0, 5: 7200.0}.get(next(steps), moved)
        time.sleep(0.02)  # the writer looks at the clock before every frame
        ages.append(View(session).state()["age"])

    began = time.monotonic()
    said = go(session, set_the_clock)
    lasted = time.monotonic() - began
    times = [taken for (taken,) in rows(out, "SELECT timestamp FROM frames ORDER BY id")]
    assert times == sorted(times)
    ((started, ended),) = rows(out, "SELECT started, ended FROM runs")
    assert started - 1 <= times[0] <= times[-1] <= ended <= started + lasted + 1
    assert rows(out, "SELECT duration_s FROM run_list")[0][0] <= lasted + 1
    assert all(0 <= age <= lasted for age in ages)
    clock = [text for text in said if "the system's clock was set" in text]
    assert "set back by 3,600 s" in clock[0]
    assert "set forward by 10,800 s" in clock[1]


def test_the_losses_of_a_run_are_deleted_with_it(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "r.sqlite")) as file:
        losses.forget(file, 1)  # no run of the file has lost anything
        for run in (1, 2):
            losses.store(file, run, {"overtaken": 3})
            losses.store(file, run, {"overtaken": 5, "storage": 1})
        losses.forget(file, 1)
        assert file.execute("SELECT * FROM losses ORDER BY place").fetchall() == [
            (2, "overtaken", 5),
            (2, "storage", 1),
        ]
