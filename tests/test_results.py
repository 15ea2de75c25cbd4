"""Results survive kills, full disks and second runs; other files are left alone."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from results_rows import FOUND, INFO, frame, rows

from qlvit_edge.errors import DataError
from qlvit_edge.microscope.results import Results

WRITER = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.records import RunInfo
from qlvit_edge.microscope.results import Results
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
info = RunInfo("tiny", "ab" * 32, "litert", "reference", "folder", 0.3, 0.4, 0.8, "tests")
found = ClassifiedCell(
    Cell(1, 2, 30, 40, 500.0), Classification("RED", 0.75, {"RED": 0.75, "BLUE": 0.25}, "accepted")
)
image = np.zeros((4, 4, 3), np.uint8)
try:
    with Results(Path(sys.argv[1]), info) as results:
        for index in range(10**6):
            print(results.add_frame(Frame(image, index, 0.0), [found] * 3), flush=True)
except DataError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def test_frames_and_cells_are_stored_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with Results(path, INFO) as results:
        results.add_frame(frame(0), [FOUND], saved_as=Path("pictures/0.jpg"))
        results.add_frame(frame(1), [])
        # Another program can look while the run goes on.
        assert rows(path, "SELECT number, source, width, height, saved_as FROM frames") == [
            (0, "0.png", 640, 480, "pictures/0.jpg"),
            (1, "1.png", 640, 480, None),
        ]
        assert rows(path, "SELECT outcome, ended FROM runs") == [("running", None)]
    (cell,) = rows(
        path, "SELECT frame_id, x, y, width, height, label, verdict, probabilities FROM cells"
    )
    assert cell[:7] == (1, 1, 2, 30, 40, "RED", "uncertain")
    assert json.loads(str(cell[7])) == {"RED": 0.75, "BLUE": 0.25}
    ((model, digest, kernels, outcome),) = rows(
        path, "SELECT model, model_sha256, kernels, outcome FROM runs"
    )
    assert (model, digest, kernels, outcome) == ("tiny", "ab" * 32, "reference", "finished")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.sqlite"]


def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    with Results(tmp_path / "r.sqlite", INFO) as results:
        connection = results._connection
        assert connection is not None
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_run_is_added_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    for expected in (1, 2):
        with Results(path, INFO) as results:
            assert results.run_id == expected
            results.add_frame(frame(), [FOUND])
    assert rows(path, "SELECT run_id FROM frames") == [(1,), (2,)]


def test_how_a_run_ended_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, INFO) as results:
        results.finish("stopped")
    with pytest.raises(RuntimeError), Results(path, INFO):
        raise RuntimeError
    assert rows(path, "SELECT outcome FROM runs") == [("stopped",), ("failed",)]


def test_a_kill_loses_no_acknowledged_row(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "0"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(25)]
    child.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    child.wait()
    child.stdout.close()
    stored = {row[0] for row in rows(path, "SELECT id FROM frames")}
    assert stored >= set(acknowledged)
    # No frame is there in part.
    assert rows(path, "SELECT count(*) FROM cells") == [(3 * len(stored),)]
    assert rows(path, "SELECT outcome FROM runs") == [("running",)]
    said: list[str] = []
    with Results(path, INFO, note=said.append) as results:
        assert results.run_id == 2
    assert rows(path, "SELECT outcome FROM runs") == [("did not end",), ("finished",)]
    assert [text.partition(" (")[0] for text in said] == [f"{path}: run 1 did not end"]


def test_a_full_disk_is_said_and_keeps_what_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), "200000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}: ")
    assert done.stderr.count("\n") == 1
    acknowledged = {int(line) for line in done.stdout.split()}
    assert len(acknowledged) > 5
    assert {row[0] for row in rows(path, "SELECT id FROM frames")} == acknowledged
    assert rows(path, "SELECT outcome FROM runs") == [("failed",)]


def test_a_disk_full_from_the_start_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), "5000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_ours_are_left_as_they_are(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_text("my notes")
    for path, finding in (
        (foreign, "another program's"),
        (text, "not a results file"),
        (tmp_path, "not a file"),
        (tmp_path / "none" / "r.sqlite", "folder does not exist"),
    ):
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(DataError, match=finding) as caught:
            Results(path, INFO)
        assert caught.value.exit_code == 2
        assert (path.read_bytes() if path.is_file() else None) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["foreign.sqlite", "notes.txt"]


@pytest.mark.parametrize("reached", ["opened", "write-ahead log"])
def test_a_file_left_by_a_kill_before_its_tables_were_made_is_used(
    tmp_path: Path, reached: str
) -> None:
    path = tmp_path / "r.sqlite"
    path.touch()
    if reached == "write-ahead log":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        assert path.stat().st_size > 0
    with Results(path, INFO) as results:
        results.add_frame(frame(), [FOUND])
    with Results(path, INFO) as results:
        assert results.run_id == 2
    assert rows(path, "SELECT label FROM cells") == [("RED",)]


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, INFO):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(DataError, match="format 7"):
        Results(path, INFO)


def test_a_damaged_results_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, INFO) as results:
        for index in range(100):
            results.add_frame(frame(index), [FOUND])
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:8192] + os.urandom(len(content) - 8192)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            Results(path, INFO)
        assert path.read_bytes() == damaged


def test_a_place_that_cannot_be_written_is_said() -> None:
    with pytest.raises(DataError, match="cannot be written"):
        Results(Path("/proc/results.sqlite"), INFO)
    with pytest.raises(DataError, match="not a file"):
        Results(Path("/dev/full"), INFO)


def test_names_that_are_not_utf8_are_said(tmp_path: Path) -> None:
    path, odd = tmp_path / "r.sqlite", os.fsdecode(b"fields\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        Results(path, replace(INFO, camera=odd))
    assert not path.exists()
    with Results(path, INFO) as results:
        with pytest.raises(DataError, match="not UTF-8"):
            results.add_frame(frame(), [FOUND], saved_as=Path(odd))
        results.add_frame(frame(), [FOUND])
    assert rows(path, "SELECT count(*) FROM frames") == [(1,)]


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, INFO) as results:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert results._connection is not None
        results._connection.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(DataError, match="another program"):
            results.add_frame(frame(), [FOUND])
        other.execute("ROLLBACK")
        other.close()
        results.add_frame(frame(), [FOUND])
    assert rows(path, "SELECT count(*) FROM frames") == [(1,)]


def test_dropped_frames_are_stored_with_frames_and_however_a_run_ends(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    results = Results(path, INFO)
    results.dropped_frames = 2
    results.add_frame(frame(0), [])
    assert rows(path, "SELECT dropped_frames, outcome FROM runs") == [(2, "running")]
    results.dropped_frames = 3
    with pytest.raises(RuntimeError), results:
        raise RuntimeError
    assert rows(path, "SELECT dropped_frames, outcome FROM runs") == [(3, "failed")]
