"""A model on an Edge TPU that is lost in a run, and its twin on the CPU: a stub of the library."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from results_rows import rows
from stub_edgetpu import Stick, tiny_chain
from tiny_metadata import metadata, plain_image

from qlvit_edge import Classifier
from qlvit_edge.choices import RUNTIMES, RuntimeName
from qlvit_edge.cli import main
from qlvit_edge.coral import Stick as CoralStick
from qlvit_edge.errors import AcceleratorError, DeviceError, InferenceLostError
from qlvit_edge.inference.accelerator import (
    CPU,
    EDGE_TPU,
    FEATURE_STEPS,
    LOGIT_STEPS,
    LONGEST_PAUSE,
    Accelerator,
    Backend,
)
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.inference.delegates import Delegate, delegate_of
from qlvit_edge.microscope.session import Session
from qlvit_edge.microscope.settings import Settings
from qlvit_edge.microscope.stopping import StopRequest
from qlvit_edge.review.cells import runs_of
from qlvit_edge.review.facts import facts_of_run
from qlvit_edge.review.keeping import delete, older_than
from qlvit_edge.review.opening import reading

RED, GREEN, BLUE = (plain_image(label) for label in ("RED", "GREEN", "BLUE"))


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stick:
    return Stick(tmp_path, monkeypatch)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tiny_chain(tmp_path / "tiny.chain")


# -- the library ----------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_stick_is_chosen_by_an_option_and_computes(
    stick: Stick, chain: Path, runtime: RuntimeName
) -> None:
    if runtime == "tflite-runtime" and importlib.util.find_spec("tflite_runtime") is None:
        pytest.skip("tflite-runtime is not installed")
    stick.is_told("round")
    delegate = delegate_of(str(stick.library), ["device=usb:1", "Performance=Low"])
    with (
        Classifier(chain, delegate=delegate, runtime=runtime) as one,
        Classifier(chain, runtime=runtime) as twin,
    ):
        assert "1 on the Edge TPU" in one.kernels_used
        assert "nothing is proved" in str(one.arithmetic)
        ours, theirs = one.infer(RED).logits, twin.infer(RED).logits
        assert ours is not None
        assert theirs is not None
        assert np.abs(ours.astype(int) - theirs).tolist() == [1, 1, 1]
    assert stick.options == ["device=usb:1", "Performance=Low"]


@pytest.mark.parametrize(
    ("mood", "kind", "finding"),
    [
        ("refuse", AcceleratorError, "the device is refused (Failed to open: no such Edge TPU)"),
        ("fail", AcceleratorError, "USB transfer error 2"),
    ],
)
def test_a_stick_that_refuses_or_fails_is_one_line(
    stick: Stick, chain: Path, mood: str, kind: type[DeviceError], finding: str
) -> None:
    stick.is_told(mood)
    with pytest.raises(kind) as caught:
        Classifier(chain, delegate=Delegate(str(stick.library), (("device", "usb:3"),)))
    assert finding in str(caught.value)
    assert "libedgetpu.so.1 (device=usb:3)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "finding"),
    [(["device"], "is not NAME=VALUE"), (["=usb"], "is not"), (["a=1", "a =2"], "given twice")],
)
def test_options_that_are_none_are_refused(options: list[str], finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        delegate_of("edgetpu", options)


# -- the change of sides, without processes -------------------------------------------------


class Scripted:
    """A classifier that answers until told otherwise.

    Attributes:
        added: to every logit.
        broken: whether it fails.
        asked: how often it was asked.
    """

    metadata = metadata()
    kernels_used = "scripted"

    def __init__(self, added: int = 0) -> None:
        self.added, self.broken, self.asked, self.closed = added, False, 0, False

    def infer(self, pixels: np.ndarray) -> Classification:
        self.asked += 1
        if self.broken:
            raise InferenceLostError("m", "no answer within 10 s", "wait")
        logits = np.array([int(pixels.sum()) % 100 + self.added], np.int16)
        return Classification("RED", 1.0, {"RED": 1.0}, "accepted", logits=logits)

    def close(self) -> None:
        self.closed = True


class Bench:
    """An accelerator with time that only passes when it is told to.

    Attributes:
        coming: what starts next: a classifier, or an error.
        started: what started so far.
    """

    def __init__(self, *coming: Scripted | Exception) -> None:
        self.now, self.said, self.twin = 1000.0, list[str](), Scripted()
        self.coming, self.started = list(coming), list[Scripted]()
        self.attempts = 0
        self.made = Accelerator(
            self._open,  # type: ignore[arg-type]
            self.twin,  # type: ignore[arg-type]
            background=self._at_once,
            clock=lambda: self.now,
        )
        self.made.begin(self.said.append)

    def _open(self) -> Scripted:
        self.attempts += 1
        found = self.coming.pop(0) if self.coming else AcceleratorError("stick", "gone", "wait")
        if isinstance(found, Exception):
            raise found
        self.started.append(found)
        return found

    def _at_once(self, work: Callable[[], None]) -> None:
        work()

    def frame(self, cells: int = 2) -> tuple[list[int], Backend]:
        """What a frame's cells are answered, as added by who answered, and by which side."""

        def answer() -> list[int]:
            found = []
            for _ in range(cells):
                logits = self.made.infer(RED, self.twin.infer).logits  # type: ignore[arg-type]
                assert logits is not None
                found.append(int(logits[0]) - int(RED.sum()) % 100)
            return found

        return self.made.frame(answer)


def test_a_frame_that_loses_the_stick_in_the_middle_is_answered_by_one_side_only() -> None:
    bench = Bench(Scripted(3))
    assert bench.frame() == ([3, 3], Backend(EDGE_TPU))
    one = bench.started[0]
    count = one.asked

    def failing(pixels: np.ndarray) -> Classification:
        one.broken = one.asked > count
        return Scripted.infer(one, pixels)

    one.infer = failing  # type: ignore[method-assign]
    answers, backend = bench.frame(3)
    assert (answers, backend.name) == ([0, 0, 0], CPU)
    assert "no answer within 10 s" in str(backend.reason)
    assert (bench.made.losses, bench.made.name, one.closed) == (1, CPU, True)
    assert bench.frame()[1] == Backend(CPU)
    assert "the CPU computes until it is back" in bench.said[0]


def test_a_stick_that_turns_to_garbage_spoils_no_frame() -> None:
    bench = Bench(Scripted(3))
    bench.frame()
    bench.started[0].added = 4
    assert bench.frame()[0] == [0, 0]
    assert "another answer than before" in bench.said[0]
    bench.frame(0)
    assert bench.made.losses == 1


def test_every_known_image_is_asked_about_in_turn() -> None:
    bench = Bench(Scripted())
    seen = []
    one = bench.started[0]

    def noting(pixels: np.ndarray) -> Classification:
        seen.append(pixels.tobytes())
        return Scripted.infer(one, pixels)

    one.infer = noting  # type: ignore[method-assign]
    for _ in range(3):
        bench.frame(1)
    assert set(seen) == {RED.tobytes(), GREEN.tobytes(), BLUE.tobytes()}


def test_it_comes_back_and_is_asked_again_once_its_answers_are_those_of_before() -> None:
    bench = Bench(Scripted(3), AcceleratorError("stick", "gone", "wait"), Scripted(4), Scripted(3))
    bench.now += 100  # it was steady: tried at once
    bench.started[0].broken = True
    assert bench.frame()[1].name == CPU
    bench.frame()  # tries, and it is gone
    assert bench.frame()[1] == Backend(CPU)  # notes that
    bench.now += 5
    bench.frame()  # tries: it answers otherwise
    assert bench.started[1].closed
    bench.frame()
    bench.now += 10
    bench.frame()
    answers, backend = bench.frame()
    assert (answers, backend.name) == ([3, 3], EDGE_TPU)
    assert "is back" in str(backend.reason)
    assert bench.frame()[1] == Backend(EDGE_TPU)
    told = [
        *("the Edge TPU is lost", "is not back (stick: gone)"),
        *("not those it gave at first", "it computes again"),
    ]
    assert [part in text for part, text in zip(told, bench.said, strict=True)] == [True] * 4


def test_a_stick_that_stays_away_is_tried_less_and_less_often_and_said_once() -> None:
    bench = Bench()
    tried = []
    for _ in range(1000):
        before = bench.attempts
        bench.frame()
        if bench.attempts > before:
            tried.append(bench.now)
        bench.now += 1
    gaps = np.diff(tried)
    assert gaps[0] < gaps[2] < gaps[-1]
    assert LONGEST_PAUSE <= gaps[-1] <= LONGEST_PAUSE + 3
    assert len(bench.said) == 2


def test_a_stick_that_comes_and_goes_is_not_tried_at_once() -> None:
    bench = Bench(Scripted(), Scripted())
    bench.started[0].broken = True
    bench.frame()
    assert bench.attempts == 1
    bench.frame()
    assert bench.attempts == 1


@pytest.mark.parametrize(("off", "name"), [(LOGIT_STEPS, EDGE_TPU), (LOGIT_STEPS + 1, CPU)])
def test_answers_that_rounding_does_not_explain_are_not_taken_from_the_start(
    off: int, name: str
) -> None:
    bench = Bench(Scripted(off))
    answers, backend = bench.frame(1)
    assert (backend.name, answers) == (name, [off if name == EDGE_TPU else 0])
    assert bench.started[0].closed == (name == CPU)
    assert (f"by up to {off} steps" in str(backend.reason)) == (name == CPU)


def test_features_count_too() -> None:
    def with_features(off: int) -> Scripted:
        one = Scripted()
        plain = one.infer

        def infer(pixels: np.ndarray) -> Classification:
            features = np.full(20, off, np.int8)
            features[0] += 60  # one of many may be far off
            return replace(plain(pixels), features=features)

        one.infer = infer  # type: ignore[method-assign]
        return one

    for off, name in ((int(FEATURE_STEPS), EDGE_TPU), (int(FEATURE_STEPS) + 1, CPU)):
        bench = Bench(with_features(0))
        bench.twin.infer = with_features(0).infer  # type: ignore[method-assign]
        bench.coming = [with_features(off)]
        found = Accelerator(bench._open, bench.twin, clock=lambda: 0.0)  # type: ignore[arg-type]
        assert found.name == name
        found.close()


def test_what_no_device_mends_is_an_error() -> None:
    with pytest.raises(DeviceError, match="cannot be loaded"):
        Bench(DeviceError("lib.so", "it cannot be loaded", "install it"))


def test_another_run_counts_from_0_and_is_told_that_the_cpu_computes() -> None:
    bench = Bench(Scripted())
    bench.started[0].broken = True
    bench.frame()
    told: list[str] = []
    bench.made.begin(told.append)
    assert bench.made.losses == 0
    assert "the CPU computes, not the Edge TPU (m: no answer within 10 s)" in told[0]
    assert "no answer" in str(bench.frame()[1].reason)


def test_one_that_comes_back_after_the_end_is_ended() -> None:
    bench = Bench(AcceleratorError("stick", "gone", "wait"), Scripted())
    later: list[Callable[[], None]] = []
    bench.made._background = later.append  # type: ignore[assignment]
    bench.now += 5
    bench.frame()
    bench.made.close()
    later[0]()
    assert bench.started[0].closed


# -- runs -----------------------------------------------------------------------------------


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), (RED, GREEN, BLUE)[number % 3][..., ::-1])
    return folder


def expected(count: int) -> list[str]:
    return [("RED", "GREEN", "BLUE")[number % 3] for number in range(count)]


class Run:
    """A run over pictures, with somebody who does something between frames.

    Attributes:
        said: what a user was told.
    """

    def __init__(self, chain: Path, stick: Stick, folder: Path, count: int, **more: Any) -> None:
        self.out, self.count, self.said = folder / "r.sqlite", count, list[str]()
        self.session = Session(
            Settings(
                str(chain),
                str(pictures(folder / "in", count)),
                self.out,
                find="none",
                delegate=Delegate(str(stick.library)),
                **more,
            )
        )

    @property
    def accelerator(self) -> Accelerator:
        assert self.session.computing.accelerator is not None
        return self.session.computing.accelerator

    def go(self, between: Callable[[int], None]) -> list[tuple[str, str, str | None]]:
        """Run; returns label, backend and reason of every frame."""
        done = 0

        def after_frame() -> None:
            nonlocal done
            done += 1
            between(done)

        with StopRequest() as stop:
            self.session.run(
                stop, opened=lambda: None, after_frame=after_frame, note=self.said.append
            )
        self.session.computing.close()
        self.session.classifier.close()
        query = (
            "SELECT label, backend, frame_backends.reason FROM cells "
            "JOIN frame_backends USING (frame_id) ORDER BY frame_id"
        )
        return rows(self.out, query)

    def is_back(self, number: int) -> None:
        """Wait until the stick would be taken back, if it is away."""
        thread = self.accelerator._thread
        if thread is not None:
            thread.join(60)


@pytest.mark.parametrize(
    ("mood", "finding"),
    [
        ("abort", "SIGABRT"),
        ("hang", "no answer within 1.5 s"),
        ("garbage", "another answer than before"),
        ("gone", "USB transfer error"),
    ],
)
def test_a_stick_is_lost_in_a_run_and_comes_back(
    mood: str, finding: str, stick: Stick, chain: Path, tmp_path: Path
) -> None:
    stick.is_told("round")
    seconds = 1.5 if mood == "hang" else 60.0
    run = Run(chain, stick, tmp_path, 9, allowance=Allowance(inference_seconds=seconds))
    run.accelerator._came -= 100  # it has been there for long: it is tried for at once

    def between(done: int) -> None:
        if done == 3:
            stick.is_unplugged() if mood == "gone" else stick.is_told(mood)
        elif done == 4:
            stick.is_told("round")
        run.is_back(done)

    found = run.go(between)
    assert [label for label, _, _ in found] == expected(9)
    sides = [backend for _, backend, _ in found]
    assert sides == [EDGE_TPU] * 3 + [CPU] * 2 + [EDGE_TPU] * 4
    reasons = [reason for _, _, reason in found]
    assert finding in str(reasons[3])
    assert "is back" in str(reasons[5])
    assert [reasons[number] for number in (0, 1, 2, 4, 6, 7, 8)] == [None] * 7
    assert [finding in text for text in run.said] == [True, False]
    summary = run.session.summary()
    assert summary is not None
    assert summary.backends == {EDGE_TPU: 7, CPU: 2}
    assert summary.accelerator_losses == 1
    assert (summary.restarts, summary.losses) == (0, {})
    assert "1 on the Edge TPU" in summary.kernels
    assert "all on the CPU" in summary.kernels
    assert "(7 frames)" in summary.arithmetic


def test_a_run_begins_on_the_cpu_where_no_stick_is_and_takes_it_when_it_comes(
    stick: Stick, chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.inference.accelerator.FIRST_PAUSE", 0.0)
    stick.is_unplugged()
    run = Run(chain, stick, tmp_path, 6)

    def between(done: int) -> None:
        stick.is_told("work")
        run.is_back(done)

    found = run.go(between)
    sides = [backend for _, backend, _ in found]
    assert sides[0] == CPU
    assert sides[-1] == EDGE_TPU
    assert "the device is refused" in str(found[0][2])
    assert "not the Edge TPU" in run.said[0]


def test_a_file_that_changed_meanwhile_is_not_taken_back(
    stick: Stick, chain: Path, tmp_path: Path
) -> None:
    run = Run(chain, stick, tmp_path, 6)
    run.accelerator._came -= 100

    def between(done: int) -> None:
        if done == 1:
            stick.is_told("fail")
            tiny_chain(chain, name="another")
        if done == 2:
            stick.is_told("work")
        run.is_back(done)

    assert [backend for _, backend, _ in run.go(between)] == [EDGE_TPU] + [CPU] * 5
    assert "is not the file any more" in run.said[1]


def test_of_several_sticks_one_is_to_be_named(
    stick: Stick, chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [CoralStick(f"1-{port}", True, 5000, tmp_path) for port in (1, 2)]
    monkeypatch.setattr("qlvit_edge.microscope.computing.sticks", lambda: there)
    run = Run(chain, stick, tmp_path, 1)
    run.go(lambda done: None)
    assert [("2 Edge TPUs" in text, "device=usb:0" in text) for text in run.said] == [(True, True)]


def test_a_cpu_that_is_lost_while_it_stands_in_is_started_again(
    stick: Stick, chain: Path, tmp_path: Path
) -> None:
    stick.is_told("refuse")
    run = Run(chain, stick, tmp_path, 4)

    def between(done: int) -> None:
        if done == 2:
            os.kill(run.session.classifier._interpreter.remote.pid, signal.SIGKILL)

    assert [label for label, _, _ in run.go(between)] == expected(4)
    assert run.session.restarts == 1


def test_the_page_shows_what_computes(stick: Stick, chain: Path, tmp_path: Path) -> None:
    from qlvit_edge.page.state import View

    run = Run(chain, stick, tmp_path, 3)
    view = View(run.session)
    shown = []

    def between(done: int) -> None:
        shown.append(view.state()["device"]["accelerator"])
        stick.is_told("fail")

    run.go(between)
    assert (shown[0]["computes"], shown[0]["finding"]) == (EDGE_TPU, None)
    assert (shown[1]["computes"], shown[1]["losses"]) == (CPU, 1)
    assert "USB transfer error" in shown[1]["finding"]


def test_runs_without_an_accelerator_say_nothing_of_one(chain: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.sqlite"
    session = Session(Settings(str(chain), str(pictures(tmp_path / "in", 1)), out, find="none"))
    with StopRequest() as stop:
        session.run(stop, opened=lambda: None, after_frame=lambda: None, note=lambda text: None)
    session.classifier.close()
    assert not rows(out, "SELECT * FROM sqlite_master WHERE name = 'frame_backends'")
    summary = session.summary()
    assert summary is not None
    assert (summary.backends, summary.accelerator_losses) == ({}, 0)


# -- the command ----------------------------------------------------------------------------


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_the_command_says_that_the_cpu_stood_in(
    stick: Stick, chain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stick.is_told("at-load-abort")
    out, folder = tmp_path / "r.sqlite", pictures(tmp_path / "in", 3)
    options = ["--find", "none", "--json", "--delegate-option", "device=usb:1"]
    code = command(
        *("run", chain, "--camera", folder, "--out", out),
        *("--delegate", stick.library, *options),
    )
    shown = capfd.readouterr()
    assert code == 0, shown.err
    assert json.loads(shown.out)["backends"] == {"CPU": 3}
    assert "note: the CPU computes, not the Edge TPU" in shown.err
    assert "SIGABRT" in shown.err
    assert "not all was computed on the Edge TPU, which was lost 0 times: 3 frames" in shown.err
    assert set(stick.options) == {"device=usb:1"}
    listed = rows(out, "SELECT frame, cells, backend FROM backend_list")
    assert listed == [(0, 1, "CPU"), (1, 1, "CPU"), (2, 1, "CPU")]
    (run,) = rows(out, "SELECT kernels FROM runs")[0]
    assert "nothing on the Edge TPU yet" in run
    with reading(out) as connection:
        (row,) = runs_of(connection)
        assert row.kernels.endswith("; 3 frames by the CPU")
        signed = facts_of_run(connection, 1)
    with closing(sqlite3.connect(out)) as connection, connection:
        connection.execute("UPDATE frame_backends SET backend = 'Edge TPU' WHERE frame_id = 2")
        assert facts_of_run(connection, 1) != signed
    delete(out, older_than(out, 0.0), by="Ann")
    assert rows(out, "SELECT * FROM runs") == []
    assert rows(out, "SELECT * FROM frame_backends") == []


def test_validate_measures_what_the_stick_answers(
    stick: Stick, chain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stick.is_told("round")
    for label in ("RED", "GREEN", "BLUE"):
        pictures(tmp_path / "cells" / label, 3)
    options = ["--data", tmp_path / "cells", "--one-view", "--delegate", stick.library]
    out = tmp_path / "report"
    assert command("validate", chain, *options, "--out", out) == 0, capfd.readouterr().err
    report = json.loads((out / "report.json").read_text())
    assert "1 on the Edge TPU" in report["kernels"]["used"]
    assert report["kernels"]["proved"] is False
    assert (report["golden"]["equal"], report["golden"]["largest_difference"]) == (0, 1)
    stick.is_told("garbage")
    assert command("validate", chain, *options, "--out", out) == 1
    assert "off by up to 69 steps on the delegate" in capfd.readouterr().err
    stick.is_told("refuse")
    assert command("validate", chain, *options, "--out", tmp_path / "none") == 2
    assert "the device is refused" in capfd.readouterr().err
    assert not (tmp_path / "none" / "report.json").exists()


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (["--delegate", "libno-such.so.1"], "it cannot be loaded"),
        (["--delegate", "libc.so.6"], "it is no TFLite delegate"),
        (["--delegate-option", "device=usb"], "--delegate-option needs --delegate"),
        (["--delegate", "edgetpu", "--delegate-option", "usb"], "is not NAME=VALUE"),
    ],
)
def test_what_is_no_edge_tpus_library_is_refused_before_anything_is_written(
    chain: Path,
    tmp_path: Path,
    options: list[str],
    finding: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "r.sqlite"
    assert command("run", chain, "--camera", tmp_path, "--out", out, *options) == 2
    assert finding in " ".join(capfd.readouterr().err.split())
    assert not out.exists()
