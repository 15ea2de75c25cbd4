"""However a run ends, its row, its summary and its exit code say the same."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest
from results_rows import rows
from tiny_metadata import tiny_file

import qlvit_edge.bundled
from qlvit_edge.__main__ import main as begin
from qlvit_edge.cli import main
from qlvit_edge.microscope.session import Session
from qlvit_edge.microscope.settings import Settings
from qlvit_edge.microscope.stopping import Stopped, StopRequest

FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"

# Signals as a user's shell hands them on, whatever started the tests (`make test &`).
PROGRAM = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in os.environ.get("IGNORED", "").split():
    signal.signal(signal.Signals[name], signal.SIG_IGN)
from qlvit_edge.cli import main
"""
SLOW_LOADING = """
import time
from qlvit_edge.microscope import computing
def load(*_, **__):
    print("loading", flush=True)
    time.sleep(60)
computing.Classifier = load
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    shutil.copy(next(iter(sorted(FIELDS.glob("*.jpg")))), folder)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "r.sqlite"


@contextmanager
def running(
    *arguments: object, before: str = "", ignored: str = "", **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """`qlvit-edge run` in a process of its own, which is gone after the block."""
    command = [sys.executable, "-P", "-c", f"{PROGRAM}{before}\nmain()", "run"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [*command, *map(str, arguments), "--json"],
        env={**os.environ, "IGNORED": ignored},
        **{**streams, **options},
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def frames_in(path: Path) -> int:
    try:
        return int(rows(path, "SELECT count(*) FROM frames")[0][0]) if path.exists() else 0
    except sqlite3.OperationalError:
        return 0


def outcomes(path: Path) -> list[str]:
    return [outcome for (outcome,) in rows(path, "SELECT outcome FROM runs")]


def simulated(fields: Path, fps: float = 20) -> str:
    return f"simulated:{fields}?fps={fps}"


def agreed(child: subprocess.Popen[str], out: Path, code: int, outcome: str) -> str:
    """Wait for the end; row, summary and exit code must agree. Returns what stderr said."""
    said, errors = child.communicate(timeout=30)
    assert child.returncode == code, errors
    assert "Traceback" not in errors
    summary = json.loads(said)
    assert summary["outcome"] == outcome
    assert rows(out, "SELECT count(*), (SELECT outcome FROM runs) FROM frames") == [
        (summary["frames"], outcome)
    ]
    return errors


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_stop_cleanly(name: str, model: Path, fields: Path, out: Path) -> None:
    with running(model, "--camera", simulated(fields), "--out", out) as child:
        until(lambda: frames_in(out))
        child.send_signal(signal.Signals[name])
        agreed(child, out, 0, "stopped")


def test_ignored_signals_stay_ignored(model: Path, fields: Path, out: Path) -> None:
    """Under nohup, or started with & by a script."""
    source = simulated(fields)
    with running(model, "--camera", source, "--out", out, ignored="SIGINT SIGHUP") as child:
        until(lambda: frames_in(out))
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGHUP)
        before = frames_in(out)
        until(lambda: frames_in(out) > before + 5)
        child.send_signal(signal.SIGTERM)
        agreed(child, out, 0, "stopped")


def test_a_terminal_that_is_closed_ends_nothing_where_that_is_ignored(
    model: Path, fields: Path, out: Path
) -> None:
    """Every write to the terminal fails from then on."""
    leader, follower = pty.openpty()
    with running(
        *(model, "--camera", simulated(fields), "--out", out),
        ignored="SIGHUP",
        stdout=subprocess.DEVNULL,
        stderr=follower,
    ) as child:
        os.close(follower)
        reader = threading.Thread(target=lambda: os.read(leader, 1))
        reader.start()
        until(lambda: frames_in(out))
        reader.join()
        os.close(leader)
        before = frames_in(out)
        until(lambda: frames_in(out) > before + 10)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    assert outcomes(out) == ["stopped"]


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_while_the_model_is_loaded_is_said(
    name: str, code: int, fields: Path, out: Path
) -> None:
    with running("m", "--camera", fields, "--out", out, before=SLOW_LOADING) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "loading\n"
        child.send_signal(signal.Signals[name])
        said, errors = child.communicate(timeout=10)
    assert child.returncode == code
    assert errors == f"interrupted ({name}) before the run began\n"
    assert said == ""
    assert not out.exists()


def test_a_killed_run_is_marked_when_the_next_one_begins(
    model: Path, fields: Path, out: Path
) -> None:
    with running(model, "--camera", simulated(fields), "--out", out) as child:
        until(lambda: frames_in(out))
        child.kill()
        child.wait()
    assert outcomes(out) == ["running"]
    with running(model, "--camera", fields, "--out", out) as child:
        _, errors = child.communicate(timeout=30)
    assert f"note: {out}: run 1 did not end" in errors
    assert outcomes(out) == ["did not end", "finished"]


def test_a_run_whose_end_cannot_be_noted_says_what_its_row_will_say(
    model: Path, fields: Path, out: Path
) -> None:
    """Another program has the file locked, and the user does not want to wait."""
    with running(model, "--camera", simulated(fields), "--out", out) as child:
        until(lambda: frames_in(out))
        with closing(sqlite3.connect(out, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert child.stderr is not None
            while "the run goes on" not in child.stderr.readline():
                pass
            child.send_signal(signal.SIGINT)
            time.sleep(0.2)
            child.send_signal(signal.SIGINT)
            said, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert json.loads(said)["outcome"] == "did not end"
    assert json.loads(said)["frames"] == frames_in(out)
    with running(model, "--camera", fields, "--out", out) as child:
        child.communicate(timeout=30)
    assert outcomes(out) == ["did not end", "finished"]


def test_a_file_deleted_while_no_frame_comes_is_noticed(
    model: Path, fields: Path, out: Path
) -> None:
    with running(model, "--camera", simulated(fields, fps=0.02), "--out", out) as child:
        until(lambda: frames_in(out))
        out.unlink()
        said, errors = child.communicate(timeout=5)
    assert child.returncode == 1
    assert errors.splitlines()[-1].startswith(f"error: {out}: it was deleted or moved away")
    assert json.loads(said)["outcome"] == "failed"
    assert list(out.parent.iterdir()) == []


def session_of(model: Path, fields: Path, out: Path, **settings: Any) -> Session:
    return Session(Settings(str(model), str(fields), out, **settings))


def run_session(session: Session, each: Callable[[], None]) -> list[str]:
    """Run in this process; ``each`` is called after every frame. Returns what was said."""
    said: list[str] = []
    with StopRequest() as stop:
        session.run(stop, opened=lambda: None, after_frame=each, note=said.append)
    return said


def interrupt() -> None:
    raise KeyboardInterrupt


def fail() -> None:
    raise ValueError("a fault")


@pytest.mark.parametrize(
    ("ending", "error", "outcome"),
    [
        (lambda: None, None, "finished"),
        (interrupt, KeyboardInterrupt, "interrupted"),
        (fail, ValueError, "failed"),
    ],
)
def test_row_and_summary_agree(
    ending: Callable[[], None],
    error: type[BaseException] | None,
    outcome: str,
    model: Path,
    fields: Path,
    out: Path,
) -> None:
    session = session_of(model, fields, out)
    if error is None:
        run_session(session, ending)
    else:
        with pytest.raises(error):
            run_session(session, ending)
    summary = session.summary()
    assert summary is not None
    assert (summary.outcome, summary.frames) == (outcome, 1)
    assert rows(out, "SELECT frames, outcome FROM run_list") == [(1, outcome)]


def test_a_lock_of_another_program_costs_no_frame(model: Path, fields: Path, out: Path) -> None:
    session = session_of(model, Path(simulated(fields)), out, frames=30)
    other = sqlite3.connect(out, isolation_level=None, check_same_thread=False)
    calls = 0

    def lock_for_a_while() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            other.execute("BEGIN IMMEDIATE")
        if calls == 30:
            assert session.frames <= 2  # the others wait
            other.execute("ROLLBACK")

    with closing(other):
        said = run_session(session, lock_for_a_while)
    assert session.frames == 30
    assert rows(out, "SELECT number FROM frames ORDER BY id") == [(n,) for n in range(30)]
    assert "another program has locked it; the run goes on" in said[0]
    assert "free again after" in said[1]


def test_whole_frames_are_classified_where_nothing_is_looked_for(
    model: Path, fields: Path, out: Path, tmp_path: Path
) -> None:
    from qlvit_edge.preprocess import decode

    session = session_of(model, fields, out, find="none", save=tmp_path / "seen")
    run_session(session, lambda: None)
    (image,) = fields.iterdir()
    expected = session.classifier.classify(image)
    height, width, _ = decode(image).shape
    assert rows(out, "SELECT x, y, width, height, label, probability FROM cells") == [
        (0, 0, width, height, expected.label, expected.probability)
    ]
    assert rows(out, "SELECT find, nucleus_px2 FROM run_list JOIN cell_list USING (run)") == [
        ("none", None)
    ]
    assert len(list((tmp_path / "seen").iterdir())) == 1


def test_credentials_are_not_stored_or_printed(
    model: Path, fields: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlvit_edge.camera.folder import FolderCamera
    from qlvit_edge.microscope import session as module

    monkeypatch.setattr(module, "open_camera", lambda source, wanted: FolderCamera(fields))
    session = session_of(model, Path("m"), out)
    secret = "http://alice:s3cr@t@10.0.0.5/video?token=t0ken&fps=5"
    object.__setattr__(session.settings, "source", secret)
    run_session(session, lambda: None)
    shown = "http://***@10.0.0.5/video?token=***&fps=5"
    summary = session.summary()
    assert summary is not None
    assert summary.camera == shown
    assert rows(out, "SELECT camera FROM runs") == [(shown,)]
    assert b"s3cr" not in out.read_bytes()


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize(
    "words",
    [
        ["m", "--camera", "http://alice:s3cret@127.0.0.1:9/?token=s3cret"],
        ["http://alice:s3cret@127.0.0.1:9/", "--camera", "usb:0"],
        ["m", "http://alice:s3cret@127.0.0.1:9/", "--camera", "usb:0"],
        ["m", "--camera", "alice:s3cret@127.0.0.1:9"],
        ["m", "--camera", "usb:0", "--frames", "rtsp://alice:s3cret@10.0.0.5"],
    ],
)
def test_no_message_shows_credentials(
    debug: list[str],
    words: list[str],
    model: Path,
    out: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = [str(model) if word == "m" else word for word in words]
    with pytest.raises(SystemExit) as caught:
        main([*debug, "run", *words, "--out", str(out)])
    assert caught.value.code == 2
    shown = capfd.readouterr()
    assert ("Traceback" in shown.err) == (bool(debug) and "Usage" not in shown.err)
    assert "***" in shown.err
    assert "s3cret" not in shown.err + shown.out
    assert "alice" not in shown.err + shown.out


def test_an_interrupt_before_the_command_line_is_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "qlvit_edge.cli":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "qlvit_edge.cli")
    with pytest.raises(SystemExit) as caught:
        begin()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_stop_request_interrupts_only_where_the_program_waits() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested is signal.SIGTERM
        with pytest.raises(Stopped), stop.interruptible():
            pytest.fail("it went on")
        os.kill(os.getpid(), signal.SIGHUP)  # a second one changes nothing
        assert stop.requested is signal.SIGTERM


def test_another_thread_can_end_the_waiting() -> None:
    with StopRequest() as stop:
        began = time.monotonic()
        threading.Timer(0.05, stop.wake).start()
        with pytest.raises(Stopped), stop.interruptible():
            time.sleep(10)
        assert time.monotonic() - began < 5
        assert stop.requested is None
        with pytest.raises(Stopped), stop.interruptible():
            pytest.fail("it went on")
    stop.wake()  # too late: harmless


def test_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    with StopRequest():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)] == before


def test_imports_that_swallow_errors_do_not_swallow_a_stop() -> None:
    assert not issubclass(Stopped, Exception)


REFUSED = [
    (("--find", "region:600,0,300,200"), "the region 600,0,300,200 (pixels) reaches beyond"),
    (("--find", "bright"), "a picture with a bright ground"),
]


@pytest.mark.parametrize(("options", "finding"), REFUSED)
def test_what_is_refused_by_the_first_frame_leaves_nothing(
    options: tuple[str, ...],
    finding: str,
    model: Path,
    fields: Path,
    out: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ["run", str(model), "--camera", str(fields), "--out", str(out), "--sample", "S 1"]
    command += ["--save", str(out.parent / "saved")]
    with pytest.raises(SystemExit) as ended:
        main([*command, *options])
    said = capfd.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert finding in said.err.replace("\n", " ")
    assert list(out.parent.iterdir()) == []


def test_a_refused_run_changes_no_file_that_was_there(
    model: Path, fields: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(model), "--camera", str(fields), "--out", str(out), "--frames", "1"]
    for options, code in (((), None), (("--find", "bright", "--sample", "S 2"), 2)):
        with pytest.raises(SystemExit) as ended:
            main([*command, *options])
        assert ended.value.code in (code, 0 if code is None else code)
        assert rows(out, "SELECT id, outcome FROM runs") == [(1, "finished")]
        assert rows(out, "SELECT name FROM samples") == []
    capfd.readouterr()


def test_a_later_frame_that_is_refused_leaves_a_run_that_failed(
    model: Path, fields: Path, out: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    shutil.copytree(fields, folder)
    (picture,) = folder.iterdir()
    small = cv2.imread(str(picture))[:100]
    cv2.imwrite(str(folder / "z small.png"), small)
    command = ["run", str(model), "--camera", str(folder), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--find", "region:0,0,300,200"])
    assert ended.value.code == 2
    assert rows(out, "SELECT outcome, (SELECT count(*) FROM frames) FROM runs") == [("failed", 1)]
