"""A run under a service manager: a real socket hears when it is ready, alive, waiting or hung."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from command import run_command
from notify_socket import NotifySocket
from results_rows import rows
from scripted_camera import Scripted
from tiny_metadata import plain_image, tiny_file

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.folder import PictureCamera
from qlvit_edge.cli import supervised
from qlvit_edge.errors import (
    InferenceLostError,
    ModelFileError,
    ModelRolledBackError,
    RestartableError,
)
from qlvit_edge.inference import watchdog as watchdog_module
from qlvit_edge.inference.watchdog import Patience, Watchdog
from qlvit_edge.microscope import session as session_module
from qlvit_edge.microscope.life import FOR_CAMERA, PAUSED, Life
from qlvit_edge.microscope.session import Session
from qlvit_edge.supervision.heartbeat import NEWS_SECONDS, Heartbeat
from qlvit_edge.supervision.notifier import Notifier

SILENCE = 0.6
"""Seconds in which a watchdog of 200 ms is fed a dozen times, if at all."""

PROGRAM = [sys.executable, "-c", "from qlvit_edge.cli import main; main()"]


@pytest.fixture
def ear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    """A manager of this process that waits 200 ms for a sign of life."""
    with NotifySocket(tmp_path / "n") as one:
        monkeypatch.setenv("NOTIFY_SOCKET", one.name)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield one


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_file(tmp_path / "tiny.tflite")


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    folder = tmp_path / "dots"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), plain_image("RED", size=16))
    return folder


class Paused(Scripted):
    """A live camera that gives frames without end."""

    def __init__(self) -> None:
        super().__init__(10**9)

    def _read(self) -> np.ndarray:
        time.sleep(0.01)
        return plain_image("GREEN", size=16)


class Stuck(PictureCamera):
    """A camera that gives two frames and then never returns, until it is let go.

    Attributes:
        go: lets it go.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("stuck", folder)
        self.go = threading.Event()

    def frames(self) -> Iterator[Frame]:
        for index in range(2):
            yield Frame(plain_image("RED", size=16), index, time.time(), "")
        self.go.wait(20)


def fed(said: list[dict[str, str]]) -> int:
    return sum("WATCHDOG" in one for one in said)


def beside(block: Callable[[], None], *arguments: object) -> int:
    """Run the command line here while a block watches it in a thread; return the exit code."""
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            block()
        except BaseException as error:
            failures.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # one that comes too late
    try:
        thread.start()
        code = run_command(*arguments)
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    if failures:
        raise failures[0]
    return code


def run_of(model: Path, out: Path, camera: object, *more: object) -> list[object]:
    return ["run", model, "--camera", camera, "--out", out, "--find", "none", *more]


@pytest.mark.parametrize("abstract", [False, True])
def test_a_manager_is_told_over_both_kinds_of_sockets(abstract: bool, tmp_path: Path) -> None:
    name = f"@qlvit-edge-{os.getpid()}" if abstract else str(tmp_path / "n")
    with NotifySocket(name) as ear:
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000000"})
        assert notifier.watchdog_seconds == 2.0
        notifier.ready("begun")
        notifier.alive("at http://ann:secret@cam/ \n" + "x" * 1000)
        notifier.reloading("again")
        notifier.stopping("over")
        ready, alive, reloading, stopping = ear.hear(0.2)
    assert ready == {"READY": "1", "STATUS": "begun", "WATCHDOG": "1"}
    assert alive["STATUS"].startswith("at http://***@cam/ \\nxxx")
    assert len(alive["STATUS"]) <= 300
    assert abs(int(reloading.pop("MONOTONIC_USEC")) / 1e6 - time.monotonic()) < 20
    assert reloading == {"RELOADING": "1", "STATUS": "again", "WATCHDOG": "1"}
    assert stopping == {"STOPPING": "1", "STATUS": "over"}


@pytest.mark.parametrize(
    ("environment", "supervised", "seconds"),
    [
        ({}, False, None),
        ({"WATCHDOG_USEC": "1000000"}, False, None),
        ({"NOTIFY_SOCKET": ""}, False, None),
        ({"NOTIFY_SOCKET": "relative"}, False, None),
        ({"NOTIFY_SOCKET": "@"}, False, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, True, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "-5"}, True, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, True, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "٣"}, True, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "90000000"}, True, 90.0),
    ],
)
def test_the_environment_says_who_listens(
    environment: dict[str, str], supervised: bool, seconds: float | None
) -> None:
    notifier = Notifier(environment)
    assert (notifier.is_supervised, notifier.watchdog_seconds) == (supervised, seconds)


def test_a_manager_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("begun")
    with NotifySocket(tmp_path / "full") as ear:  # nobody takes anything out
        notifier = Notifier({"NOTIFY_SOCKET": ear.name})
        for _ in range(5):
            notifier._send("X=" + "y" * 10**7)


def test_signs_are_passed_on_at_a_measured_pace_and_silence_is_silence(tmp_path: Path) -> None:
    now = [100.0]
    run = SimpleNamespace(frames=0, counts=Counter(RED=0))
    with NotifySocket(tmp_path / "n") as ear:
        notifier = Notifier({"NOTIFY_SOCKET": ear.name, "WATCHDOG_USEC": "8000000"})
        heartbeat = Heartbeat(notifier, clock=lambda: now[0])
        heartbeat.follow(run)
        assert ear.hear(0.05) == []
        heartbeat.sign(FOR_CAMERA)
        assert ear.hear(0.05)[0]["READY"] == "1"
        for _ in range(100):  # ten seconds of frames, at ten a second
            now[0] += 0.1
            run.frames += 1
            run.counts["RED"] += 2
            heartbeat.sign(None)
        said = ear.hear(0.05)
        assert 4 <= fed(said) <= 6  # every 2 s, and once for the news
        assert said[-1]["STATUS"] == "running; 95 frames, 190 cells, 10.0 frames/s"
        now[0] += 2
        heartbeat.sign(PAUSED)  # the frames of before are said first
        assert ear.hear(0.05)[0]["STATUS"].startswith("running; 100 frames")
        now[0] += NEWS_SECONDS
        heartbeat.sign(PAUSED)
        heartbeat.sign(PAUSED)
        assert [one["STATUS"] for one in ear.hear(0.05)] == ["paused; 100 frames, 200 cells"]
        now[0] += NEWS_SECONDS
        heartbeat.sign(PAUSED)
        assert ear.hear(0.05) == []
        now[0] += 1000
        assert ear.hear(0.05) == []


def test_a_camera_that_waits_does_not_speak_for_a_frame_under_way() -> None:
    heard: list[str | None] = []
    life = Life()
    life.listener = heard.append
    life.waits_for_more(FOR_CAMERA)
    assert heard == [FOR_CAMERA]
    life.took()
    life.waits_for_more(FOR_CAMERA)
    assert heard == [FOR_CAMERA]
    life.stored(1, answered=0)  # the runtime failed on it: no sign of life
    assert heard == [FOR_CAMERA]
    life.took()
    life.stored(1, answered=1)
    life.waits_for_more(PAUSED)
    assert heard == [FOR_CAMERA, None, PAUSED]


def test_a_run_says_when_it_is_ready_how_it_goes_on_and_that_it_ends(
    ear: NotifySocket, model: Path, dots: Path, tmp_path: Path
) -> None:
    camera = f"simulated:{dots}?fps=8"
    assert run_command(*run_of(model, tmp_path / "r.sqlite", camera, "--frames", 8)) == 0
    said = ear.hear(0.1)
    assert "READY" in said[0]
    # A frame each time, or a few of them where the machine does other work.
    assert re.fullmatch(r"running; (\d+) frames?, \1 cells?", said[0]["STATUS"])
    assert sum("READY" in one for one in said) == 1
    assert 2 <= fed(said) <= 20
    assert any(one["STATUS"].endswith(" frames/s") for one in said)
    assert said[-1] == {"STOPPING": "1", "STATUS": "ended"}


def test_a_camera_that_hangs_undeclared_stops_the_feeding(
    ear: NotifySocket, model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Stuck(dots)
    monkeypatch.setattr(session_module, "open_camera", lambda source, wanted: camera)

    def watch() -> None:
        ear.until(lambda one: "READY" in one)
        ear.hear(0.3)
        assert fed(ear.hear(SILENCE)) == 0
        camera.go.set()

    assert beside(watch, *run_of(model, tmp_path / "r.sqlite", "stuck")) == 0


def test_a_model_that_hangs_stops_the_feeding_while_the_camera_waits(
    ear: NotifySocket, model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, asked, infer = threading.Event(), threading.Event(), Watchdog.infer

    def hang(self: Watchdog, pixels: np.ndarray) -> Any:
        if (tmp_path / "dots" / "late.png").exists():
            asked.set()
            assert go.wait(20)
        return infer(self, pixels)

    monkeypatch.setattr(Watchdog, "infer", hang)

    def watch() -> None:
        ear.until(lambda one: "READY" in one)
        # A folder without news waits, for as long as it likes.
        ear.until(lambda one: one["STATUS"].startswith(FOR_CAMERA))
        assert fed(ear.hear(SILENCE)) >= 2
        shutil.copy(dots / "0.png", dots / "late.tmp")
        cv2.imwrite(str(dots / "late.tmp.png"), plain_image("BLUE", size=16))
        (dots / "late.tmp.png").rename(dots / "late.png")
        assert asked.wait(20)
        ear.hear(0.3)
        assert fed(ear.hear(SILENCE)) == 0
        go.set()
        ear.until(lambda one: "WATCHDOG" in one)

    assert beside(watch, *run_of(model, tmp_path / "r.sqlite", f"watch:{dots}")) == 0


def test_a_pause_is_declared_and_ends(
    ear: NotifySocket, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Session] = []
    begin = Session.run

    def noting(self: Session, *arguments: Any, **named: Any) -> None:
        sessions.append(self)
        begin(self, *arguments, **named)

    monkeypatch.setattr(Session, "run", noting)
    monkeypatch.setattr(session_module, "open_camera", lambda source, wanted: Paused())

    def watch() -> None:
        ear.until(lambda one: "READY" in one)
        sessions[0].pause.wanted = True
        ear.until(lambda one: one["STATUS"].startswith(PAUSED))
        assert fed(ear.hear(SILENCE)) >= 3
        sessions[0].pause.wanted = False
        ear.until(lambda one: one["STATUS"].startswith("running"))

    assert beside(watch, *run_of(model, tmp_path / "r.sqlite", "scripted")) == 0


def test_a_camera_without_frames_is_waited_for_until_it_has_stalled(
    ear: NotifySocket,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    camera = Scripted(3)
    camera._stall_seconds = 1.2
    camera.turns.release()
    monkeypatch.setattr(session_module, "open_camera", lambda source, wanted: camera)
    assert run_command(*run_of(model, tmp_path / "r.sqlite", "scripted")) == 75
    camera.turns.release(2)
    said = ear.hear(0.1)
    assert any(one["STATUS"].startswith(FOR_CAMERA) for one in said)
    assert "STOPPING" in said[-1]
    assert "no frame for 1 s" in said[-1]["STATUS"]
    assert capfd.readouterr().err.count("\nerror: scripted: no frame for 1 s; ") == 1
    assert rows(tmp_path / "r.sqlite", "SELECT COUNT(*) FROM frames") == [(1,)]


def test_without_a_manager_a_stalled_camera_ends_a_run_as_ever(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Scripted(3)
    camera._stall_seconds = 0.2
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(session_module, "open_camera", lambda source, wanted: camera)
    assert run_command(*run_of(model, tmp_path / "r.sqlite", "scripted")) == 2
    camera.turns.release(3)


def test_a_camera_that_is_not_there_is_waited_for(
    ear: NotifySocket, model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "FIRST_WAIT", 0.3)
    monkeypatch.setattr(supervised, "_LOOK_SECONDS", 0.1)
    there = tmp_path / "later"

    def watch() -> None:
        ready = ear.until(lambda one: "READY" in one)
        assert ready["STATUS"].startswith(f"{FOR_CAMERA}: watch:{there}: no such folder")
        assert fed(ear.hear(SILENCE)) >= 1
        dots.rename(there)
        ear.until(lambda one: one["STATUS"].startswith("running"))

    out = tmp_path / "r.sqlite"
    assert beside(watch, *run_of(model, out, f"watch:{there}")) == 0
    assert rows(out, "SELECT COUNT(*) FROM runs") == [(1,)]  # tries leave nothing
    assert sum("READY" in one for one in ear.said) == 1


def test_waiting_for_the_models_process_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    now = [0.0]
    monkeypatch.setattr(watchdog_module.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))

    class Flapping:
        """Its process answers the known images, and is lost at the next one."""

        metadata = SimpleNamespace(golden=[], input_size=(4, 4), channels=3)
        left = 3

        def restart(self) -> None:
            self.left = 3

        def infer(self, pixels: np.ndarray) -> Any:
            self.left -= 1
            if self.left < 0:
                raise InferenceLostError("m.tflite", "no answer within 10 s", "wait")
            return SimpleNamespace(logits=pixels, features=None)

    watchdog = Watchdog(
        Flapping(),  # type: ignore[arg-type]
        patience=Patience(most=2, first_pause=3.0),
        clock=lambda: now[0],
        rests=lambda: rests.append(now[0]),
    )
    pixels = np.zeros((4, 4, 3), np.uint8)
    for _ in range(3):
        with pytest.raises(watchdog_module.UnansweredError):
            watchdog.infer(pixels)
    assert len(rests) >= 30  # all the way through pauses of 3 s and more
    assert np.diff(rests).max() < 0.2 + 1e-6 or len(np.flatnonzero(np.diff(rests) > 0.2)) < 3


def test_a_locked_results_file_is_waited_for_and_declared(
    ear: NotifySocket, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "open_camera", lambda source, wanted: Paused())
    out = tmp_path / "r.sqlite"

    def watch() -> None:
        ear.until(lambda one: "READY" in one)
        other = sqlite3.connect(out)
        other.execute("BEGIN IMMEDIATE")
        try:
            ear.until(lambda one: "waiting for the results file" in one["STATUS"])
            assert fed(ear.hear(2 * SILENCE)) >= 2
        finally:
            other.close()
        ear.until(lambda one: one["STATUS"].startswith("running"))

    assert beside(watch, *run_of(model, out, "scripted")) == 0


def test_trouble_in_a_run_is_worth_another_start_and_a_wrong_model_is_not(
    ear: NotifySocket, model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(*run_of(tmp_path / "none.tflite", tmp_path / "r.sqlite", dots)) == 2
    (tmp_path / "text").write_text("no results")
    assert run_command(*run_of(model, tmp_path / "text", dots)) == 75

    def broken(self: Session, *arguments: Any, **named: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(Session, "run", broken)
    assert run_command(*run_of(model, tmp_path / "r.sqlite", dots)) == 75


def test_a_model_that_was_rolled_back_is_followed_by_another_start(ear: NotifySocket) -> None:
    stop = SimpleNamespace(requested=None)
    for error, becomes in (
        (ModelRolledBackError("a", "it failed in its trial", "start again"), RestartableError),
        (ModelFileError("m.tflite", "no such model file", "name one"), ModelFileError),
    ):
        with pytest.raises(becomes), supervised.Service().until_it_ends(stop):  # type: ignore[arg-type]
            raise error
        assert "STOPPING" in ear.hear(0.05)[-1]


def test_a_new_configuration_begins_in_the_same_process(
    model: Path, dots: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "r.sqlite", tmp_path / "run.toml"
    lines = f'model = "{model}"\ncamera = "simulated:{dots}?fps=20"\nout = "{out}"\nfind = "none"\n'
    file.write_text(lines + "accept-at = 0.5\n")
    environment = {**os.environ, "WATCHDOG_USEC": "60000000"}
    with NotifySocket(tmp_path / "n") as ear:
        environment["NOTIFY_SOCKET"] = ear.name
        process = subprocess.Popen(
            [*PROGRAM, "run", "--config", str(file)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ear.until(lambda one: "READY" in one)
            file.write_text(lines + "accept-at = 0.6\n")
            process.send_signal(signal.SIGHUP)
            assert "WATCHDOG" in ear.until(lambda one: "RELOADING" in one)
            process.send_signal(signal.SIGHUP)  # as early as can be: it must not end the new one
            ear.until(lambda one: "RELOADING" in one)
            ear.until(lambda one: "READY" in one)
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
        assert sum("STOPPING" in one for one in [*ear.said, *ear.hear(0.1)]) == 1
    assert rows(out, "SELECT accept_at, outcome FROM runs ORDER BY id") == [
        (0.5, "stopped"),
        (0.6, "stopped"),
    ]


def test_nothing_is_said_where_nobody_listens(
    model: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(Notifier, "_pulse", lambda self: pytest.fail("it spoke"))
    missing = f"watch:{tmp_path / 'none'}"
    assert run_command(*run_of(model, tmp_path / "r.sqlite", missing)) == 2
