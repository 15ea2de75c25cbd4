"""Views show local times, percent and units; files of the first format are brought up to date."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from results_rows import FOUND, INFO, frame, rows

from qlvit_edge.errors import DataError
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.schema import APPLICATION_ID, FORMAT_VERSION

TO_FORMAT_2 = """
ALTER TABLE runs ADD COLUMN find TEXT NOT NULL DEFAULT 'cells';
ALTER TABLE runs ADD COLUMN dropped_frames INTEGER NOT NULL DEFAULT 0;
ALTER TABLE frames ADD COLUMN position_ms REAL;
ALTER TABLE cells ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
CREATE VIEW run_list AS SELECT id AS run FROM runs;
CREATE VIEW class_counts AS SELECT label, count(*) AS cells FROM cells GROUP BY label;
PRAGMA user_version = 2;
"""

# As the first version made them.
FORMAT_1 = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, outcome TEXT NOT NULL,
    model TEXT NOT NULL, model_sha256 TEXT NOT NULL, runtime TEXT NOT NULL,
    kernels TEXT NOT NULL, camera TEXT NOT NULL, cell_size REAL NOT NULL,
    crop_margin REAL NOT NULL, accept_at REAL NOT NULL, program TEXT NOT NULL
);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES runs (id),
    number INTEGER NOT NULL, timestamp REAL NOT NULL, source TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, saved_as TEXT
);
CREATE TABLE cells (
    id INTEGER PRIMARY KEY, frame_id INTEGER NOT NULL REFERENCES frames (id),
    x INTEGER NOT NULL, y INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    nucleus_area REAL NOT NULL, label TEXT NOT NULL, probability REAL NOT NULL,
    probabilities TEXT NOT NULL, verdict TEXT NOT NULL
);
CREATE INDEX frames_of_run ON frames (run_id);
CREATE INDEX cells_of_frame ON cells (frame_id);
INSERT INTO runs VALUES
    (1, 10, 20, 'finished', 'm', 'ab', 'litert', 'k', 'c', 0.3, 0.4, 0.8, 'p'),
    (2, 30, NULL, 'running', 'm', 'ab', 'litert', 'k', 'c', 0.3, 0.4, 0.8, 'p');
INSERT INTO frames VALUES (1, 1, 0, 12, 'a.png', 640, 480, NULL), (2, 2, 0, 31, '', 64, 48, 'x');
INSERT INTO cells VALUES (1, 1, 1, 2, 30, 40, 500, 'RED', 0.75, '{"RED": 0.75}', 'uncertain');
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.sqlite"


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is nine hours ahead of UTC."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def write_format_1(path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; {FORMAT_1}")


def test_files_of_the_first_format_are_brought_up_to_date(path: Path) -> None:
    write_format_1(path)
    said: list[str] = []
    with Results(path, INFO, note=said.append) as results:
        assert results.run_id == 3
        results.add_frame(frame(), [FOUND])
    assert f"brought from format 1 to {FORMAT_VERSION}" in said[0]
    assert "run 2 did not end" in said[1]
    assert rows(path, "PRAGMA user_version") == [(FORMAT_VERSION,)]
    assert rows(path, "SELECT run, outcome, find, frames, cells FROM run_list") == [
        (1, "finished", "cells", 1, 1),
        (2, "did not end", "cells", 1, 0),
        (3, "finished", "cells", 1, 1),
    ]
    assert rows(path, "SELECT number, timestamp, source, position_ms FROM frames")[:2] == [
        (0, 12.0, "a.png", None),
        (0, 31.0, "", None),
    ]
    assert rows(path, "SELECT label, probability, cut FROM cells LIMIT 1") == [("RED", 0.75, 0)]
    said.clear()
    with Results(path, INFO, note=said.append):
        assert said == []


def test_files_of_the_second_format_get_the_columns_and_views_of_the_third(path: Path) -> None:
    write_format_1(path)
    with closing(sqlite3.connect(path)) as old:
        old.executescript(TO_FORMAT_2)
    said: list[str] = []
    with Results(path, INFO, note=said.append) as results:
        results.statement = "as known"
        results.familiar = True
        results.add_frame(frame(), [FOUND])
    assert f"brought from format 2 to {FORMAT_VERSION}" in said[0]
    assert rows(path, "SELECT run, familiar, statement FROM run_list") == [
        (1, "not known", None),
        (2, "not known", None),
        (3, "yes", "as known"),
    ]
    assert rows(path, "SELECT uncertain, unknown_cells FROM class_counts WHERE run = 1") == [(1, 0)]


def test_an_interrupted_change_of_format_changes_nothing(path: Path) -> None:
    write_format_1(path)
    with closing(sqlite3.connect(path)) as old:
        old.execute("ALTER TABLE cells ADD COLUMN cut TEXT")  # in the way of ours
    with pytest.raises(DataError, match="duplicate column"):
        Results(path, INFO)
    assert rows(path, "PRAGMA user_version") == [(1,)]
    assert "find" not in [name for _, name, *_ in rows(path, "PRAGMA table_info(runs)")]


def test_a_new_file_and_one_brought_up_to_date_have_the_same_columns(tmp_path: Path) -> None:
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    write_format_1(old)
    for path in (old, new):
        with Results(path, INFO):
            pass
    for table in ("runs", "frames", "cells", "run_list", "frame_list", "cell_list"):
        first, second = (
            {column[1:5] for column in rows(path, f"PRAGMA table_info({table})")}
            for path in (old, new)
        )
        assert first == second != set()


@pytest.mark.usefixtures("tokyo")
def test_views_give_local_times_percent_and_units(path: Path) -> None:
    whole = replace(INFO, find="none")
    with Results(path, INFO) as results:
        video = frame(0)
        object.__setattr__(video, "position_ms", 2520.4)
        results.add_frame(video, [FOUND, FOUND], saved_as=Path("0.jpg"))
        results.add_frame(frame(1), [], unfit="too dark")
        results.dropped_frames = 3
        results.statement, results.familiar = "another stain", False
        results.finish("stopped")
    with Results(path, whole) as results:
        results.add_frame(frame(5), [FOUND])
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE runs SET started = 999.5, ended = 1002.25")
        other.commit()
    assert rows(path, "SELECT * FROM run_list WHERE run = 1") == [
        (
            *(1, "1970-01-01 09:16:39", "1970-01-01 09:16:42", 2.8, "stopped", "tiny", "folder"),
            *("cells", 2, 3, 2, 2, 0, "no", "another stain", 80.0, "tests"),
            *(None, None, "collected", "no", None),
        )
    ]
    assert rows(path, "SELECT * FROM frame_list WHERE run = 1") == [
        (1, 0, "1970-01-01 09:16:40.000", 2.52, "0.png", 640, 480, 2, None, "0.jpg"),
        (1, 1, "1970-01-01 09:16:41.000", None, "1.png", 640, 480, 0, "too dark", None),
    ]
    assert rows(path, "SELECT * FROM cell_list WHERE run = 2") == [
        (
            *(2, 5, 3, "1970-01-01 09:16:45.000", None, "5.png", "RED", 75.0, "uncertain", None),
            "no",
            *(1, 2, 30, 40, 500.0, None, None, None, None, None, None),
        )
    ]
    assert rows(path, "SELECT * FROM class_counts") == [
        (1, "RED", 2, 0, 2, 0, 0, 0, 100.0, 0),
        (2, "RED", 1, 0, 1, 0, 0, 0, 100.0, 0),
    ]


def test_a_run_that_did_not_end_is_shown_up_to_its_last_frame(path: Path) -> None:
    results = Results(path, INFO)
    results.add_frame(frame(7), [])
    started, ended = rows(path, "SELECT started, ended FROM runs")[0]
    assert ended is None
    assert rows(path, "SELECT duration_s FROM run_list") == [(round(1007.0 - started, 1),)]
    with results:
        pass
