"""A model whose process is lost in the middle of a run: started again, proved, waited for."""

from __future__ import annotations

import json
import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from odd_models import traps_on_white
from results_rows import rows
from tiny_metadata import metadata, plain_image, tiny_file

from qlvit_edge import Classifier
from qlvit_edge.cli import main
from qlvit_edge.errors import DeviceError, InferenceLostError, ModelFileError
from qlvit_edge.inference import watchdog as module
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.inference.watchdog import MOST_NOTICES, UnansweredError, Watchdog
from qlvit_edge.microscope.losses import NO_ANSWER
from qlvit_edge.microscope.session import Session
from qlvit_edge.microscope.settings import Settings
from qlvit_edge.microscope.stopping import StopRequest

WHITE = np.full((8, 8, 3), 255, np.uint8)
RED = plain_image("RED")


class Scripted:
    """A classifier whose processes do what they are told, one after another.

    Attributes:
        processes: of each process to come: how many images it answers (golden pairs too), and what
            it adds to every answer; None: it does not start.
    """

    metadata = metadata()

    def __init__(self, *processes: tuple[int, int] | None) -> None:
        self.processes = list(processes)
        self.left, self.added = 10**9, 0

    def restart(self) -> None:
        process = self.processes.pop(0) if self.processes else (10**9, 0)
        if process is None:
            raise ModelFileError("m.tflite", "it does not start", "wait")
        self.left, self.added = process

    def infer(self, pixels: np.ndarray) -> Classification:
        if self.left == 0:
            raise InferenceLostError("m.tflite", "no answer within 10 s", "wait")
        self.left -= 1
        logits = np.array([int(pixels.sum()) % 100 + self.added], np.int8)
        return Classification("RED", 1.0, {"RED": 1.0}, "accepted", logits=logits)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def watched(one: Scripted, clock: Clock, said: list[str], **more: Any) -> Watchdog:
    return Watchdog(one, say=said.append, clock=clock, **more)  # type: ignore[arg-type]


def test_a_lost_process_is_started_again_and_the_image_asked_again(clock: Clock) -> None:
    one, said = Scripted(), list[str]()
    dog = watched(one, clock, said)
    one.left = 1
    assert dog.infer(RED).logits == dog.infer(RED).logits
    assert dog.restarts == 1
    assert clock.now == 1000.0
    (text,) = said
    assert "no answer within 10 s" in text
    assert "the model's process is started again" in text


def test_a_process_that_is_lost_before_the_first_frame_is_started_again(clock: Clock) -> None:
    one, said = Scripted((10**9, 1)), list[str]()
    one.left = 1  # of the known images it answers one: the others' answers are the next one's
    dog = watched(one, clock, said)
    assert dog.restarts == 1
    assert len(said) == 1
    expected = dog.infer(RED).logits
    one.left, one.processes = 0, [(99, 0), (99, 1)]
    assert dog.infer(RED).logits == expected
    assert dog.restarts == 3


def test_an_image_that_costs_two_processes_is_given_up_and_the_next_one_answered(
    clock: Clock,
) -> None:
    one = Scripted((3, 0))  # it answers the golden pairs, and fails on the image
    dog = watched(one, clock, [])
    one.left = 0
    with pytest.raises(UnansweredError):
        dog.infer(WHITE)
    assert dog.restarts == 1
    assert dog.infer(RED).label == "RED"
    assert dog.restarts == 2


def test_a_process_that_answers_otherwise_is_not_asked(clock: Clock) -> None:
    one, said = Scripted((99, 1), None, (2, 0), (99, 0)), list[str]()
    dog = watched(one, clock, said)
    expected = dog.infer(RED).logits
    one.left = 0
    assert dog.infer(RED).logits == expected
    assert dog.restarts == 4
    assert "does not give the answers of the first one" in said[1]
    assert "does not come back (m.tflite: it does not start" in said[2]
    assert "does not come back (m.tflite: no answer within 10 s" in said[3]


def test_process_after_process_waits_longer_and_is_tried_for_ever(clock: Clock) -> None:
    lost: list[tuple[int, int] | None] = [None] * 12
    one, said = Scripted(*lost), list[str]()
    dog = watched(one, clock, said)
    one.left = 0
    assert dog.infer(RED).label == "RED"
    assert dog.restarts == 13
    # Five at once, then after 5, 10, 20, 40, 60, 60, 60 and 60 s.
    assert clock.now == pytest.approx(1000 + 5 + 10 + 20 + 40 + 4 * 60)
    pauses = [text for text in said if "lost 5 times within 60 s" in text]
    assert "the next one is started in 5 s, and so on until one stays" in pauses[0]
    assert "in 10 s" in pauses[1]


def test_a_minute_without_a_loss_is_a_new_beginning(clock: Clock) -> None:
    one = Scripted(*[None] * 5)
    dog = watched(one, clock, [])
    one.left = 0
    dog.infer(RED)
    assert clock.now == pytest.approx(1005)
    clock.now = before = 1066.5
    one.left = 0
    dog.infer(RED)
    assert clock.now == before


def test_who_asks_to_stop_waits_for_no_process(clock: Clock) -> None:
    one = Scripted(*[None] * 100)
    dog = watched(one, clock, [], stopped=lambda: clock.now > 1001)
    one.left = 0
    with pytest.raises(UnansweredError):
        dog.infer(RED)
    assert clock.now == pytest.approx(1001, abs=0.2)


def test_a_runtime_in_trouble_does_not_fill_the_screen(clock: Clock) -> None:
    one, said = Scripted(*[None] * 100), list[str]()
    dog = watched(one, clock, said)
    one.left = 0
    dog.infer(RED)
    assert len(said) == MOST_NOTICES
    assert said[-1].endswith("; more of this is only counted")


def test_a_runtime_that_fails_from_the_start_is_an_error() -> None:
    one = Scripted((1, 0))
    one.left = 0
    with pytest.raises(DeviceError, match="no answer"):
        Watchdog(one)  # type: ignore[arg-type]


def test_a_file_without_golden_pairs_is_known_by_noise(clock: Clock) -> None:
    one = Scripted((99, 1), (99, 0))
    one.metadata = metadata(golden=False)
    dog = watched(one, clock, [])
    one.left = 0
    dog.infer(RED)
    assert dog.restarts == 2


def pictures(folder: Path, *images: np.ndarray) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    return folder


def run_whole(session: Session, after_frame: Callable[[], None]) -> list[str]:
    said: list[str] = []
    with StopRequest() as stop:
        session.run(stop, opened=lambda: None, after_frame=after_frame, note=said.append)
    return said


@pytest.mark.parametrize(
    ("number", "finding"), [(signal.SIGSTOP, "no answer within"), (signal.SIGKILL, "SIGKILL")]
)
def test_a_process_that_hangs_or_is_killed_in_a_run_costs_nothing(
    number: signal.Signals, finding: str, tmp_path: Path
) -> None:
    model, out = tiny_file(tmp_path / "m.tflite"), tmp_path / "r.sqlite"
    folder = pictures(tmp_path / "in", *[RED, plain_image("GREEN"), plain_image("BLUE")] * 2)
    allowance = Allowance(inference_seconds=0.3)
    session = Session(Settings(str(model), str(folder), out, find="none", allowance=allowance))
    process = session.classifier._interpreter.remote
    first = process.pid

    def strike() -> None:
        if process.pid == first:
            os.kill(first, number)

    said = run_whole(session, strike)
    assert [label for (label,) in rows(out, "SELECT label FROM cells ORDER BY id")] == [
        *["RED", "GREEN", "BLUE"] * 2
    ]
    assert (session.restarts, session.losses(), session.incomplete) == (1, {}, False)
    assert [text for text in said if finding in text] == said
    session.classifier.close()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors do not trap")
def test_a_crop_that_makes_the_interpreter_crash_is_stored_as_such_and_the_run_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, out = tmp_path / "odd.tflite", tmp_path / "r.sqlite"
    model.write_bytes(traps_on_white())
    folder = pictures(tmp_path / "in", RED, WHITE, plain_image("GREEN"))
    options = ["--camera", str(folder), "--out", str(out), "--find", "none", "--json"]
    with pytest.raises(SystemExit) as caught:
        main(["run", str(model), *options, "--any-operator"])
    shown = capfd.readouterr()
    assert caught.value.code == 1, shown.err
    summary = json.loads(shown.out)
    assert (summary["outcome"], summary["frames"], summary["cells"]) == ("finished", 3, 2)
    assert (summary["losses"], summary["restarts"]) == ({"runtime": 1}, 2)
    assert summary["unfit_frames"] == {NO_ANSWER: 1}
    stored = "SELECT source, unfit, label FROM frames LEFT JOIN cells ON frame_id = frames.id"
    assert rows(out, f"{stored} ORDER BY frames.id") == [
        ("0.png", None, "RED"),
        ("1.png", NO_ANSWER, None),
        ("2.png", None, "GREEN"),
    ]
    assert rows(out, "SELECT * FROM losses") == [(1, "runtime", 1)]
    assert "warning: 1 frame stored without their cells: the runtime failed" in shown.err
    assert "warning: the model's process was started again 2 times" in shown.err


def test_a_process_that_is_killed_before_its_run_begins_ends_no_run(tmp_path: Path) -> None:
    model, out = tiny_file(tmp_path / "m.tflite"), tmp_path / "r.sqlite"
    folder = pictures(tmp_path / "in", RED)
    session = Session(Settings(str(model), str(folder), out, find="none"))
    os.kill(session.classifier._interpreter.remote.pid, signal.SIGKILL)
    said = run_whole(session, lambda: None)
    assert (session.outcome, session.restarts) == ("finished", 1)
    assert rows(out, "SELECT label FROM cells") == [("RED",)]
    assert "SIGKILL" in said[0]
    session.classifier.close()


def test_a_classifier_without_a_watchdog_still_fails_clearly(tmp_path: Path) -> None:
    with Classifier(tiny_file(tmp_path / "m.tflite")) as classifier:
        os.kill(classifier._interpreter.remote.pid, signal.SIGKILL)
        with pytest.raises(InferenceLostError, match="SIGKILL"):
            classifier.classify(RED)
