"""The tables and views of a results file, and how older files are brought up to date.

Tables hold values as they were measured (times in seconds since 1970, UTC; boxes in pixels;
probabilities from 0 to 1). Views are for people: local times, percent, one run by its
number. `docs/results.md` lists every column.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.microscope import backends
from qlvit_edge.microscope.migrations import ADDED, EARLY, UNIQUE, step_from
from qlvit_edge.microscope.placing import note_placement
from qlvit_edge.microscope.plain_schema import require_plain
from qlvit_edge.microscope.records import CELL_COLUMNS, FRAME_COLUMNS, FrameRecord, RunInfo
from qlvit_edge.microscope.review_tables import OUTBOX, REVIEW, REVIEW_COLUMNS
from qlvit_edge.microscope.views import CENSUS, VIEWS

APPLICATION_ID = 0x514C5645
"""Marks a SQLite file as ours ("QLVE")."""

FORMAT_VERSION = 6

_MADE_ON_DEMAND = ("census", "losses", "frame_backends")
"""Tables that a file gets when there is something to store in them."""

TABLES = f"""{REVIEW}{OUTBOX}{UNIQUE}
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    ended REAL,
    outcome TEXT NOT NULL,
    model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    runtime TEXT NOT NULL,
    kernels TEXT NOT NULL,
    camera TEXT NOT NULL,
    cell_size REAL NOT NULL,
    crop_margin REAL NOT NULL,
    accept_at REAL NOT NULL,
    program TEXT NOT NULL,
    find TEXT NOT NULL DEFAULT 'cells',
    dropped_frames INTEGER NOT NULL DEFAULT 0,
    statement TEXT,
    familiar INTEGER,
    calibration TEXT,
    sample_id INTEGER REFERENCES samples (id),
    operator_id INTEGER REFERENCES operators (id),
    pauses TEXT,
    counted_once INTEGER
);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    number INTEGER NOT NULL,
    timestamp REAL NOT NULL,
    source TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    saved_as TEXT,
    position_ms REAL,
    unfit TEXT,
    kept_as TEXT
);
CREATE TABLE cells (
    id INTEGER PRIMARY KEY,
    frame_id INTEGER NOT NULL REFERENCES frames (id),
    x INTEGER NOT NULL,
    y INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    nucleus_area REAL NOT NULL,
    label TEXT NOT NULL,
    probability REAL NOT NULL,
    probabilities TEXT NOT NULL,
    verdict TEXT NOT NULL,
    cut INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    island INTEGER,
    slide_x REAL,
    slide_y REAL,
    unique_cell INTEGER,
    doubtful INTEGER
);
CREATE TABLE islands (
    run_id INTEGER NOT NULL REFERENCES runs (id),
    number INTEGER NOT NULL,
    joined_to INTEGER,
    x REAL NOT NULL DEFAULT 0,
    y REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, number)
);
CREATE INDEX frames_of_run ON frames (run_id);
CREATE INDEX cells_of_frame ON cells (frame_id);
"""


_TABLES = ("runs", "frames", "cells", "islands", "unique_cells", "outbox")


def _inserting(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})"  # noqa: S608 - names of ours, values bound


NEXT_RUN = (
    "(SELECT 1 + max(coalesce((SELECT max(id) FROM runs), 0), coalesce((SELECT max(value) FROM "
    "reviews, json_each(content, '$.runs') WHERE run_id = 0), 0)))"
)
"""Number of the next run, in SQL: one that no run has or, deleted since, had."""

INSERT_FRAME = _inserting("frames", ("run_id", *FRAME_COLUMNS))
INSERT_CELL = _inserting("cells", ("frame_id", *CELL_COLUMNS))


def insert_run(connection: sqlite3.Connection, info: RunInfo) -> int:
    """Add a run that begins now; return its number, which no run of the file had before."""
    values = {**asdict(info), "counted_once": int(info.counted_once)}
    sample, operator = values.pop("sample"), values.pop("operator")
    now = time.time()
    if sample is not None:
        connection.execute(
            "INSERT OR IGNORE INTO samples (name, created) VALUES (?, ?)", (sample, now)
        )
    if operator is not None:
        connection.execute("INSERT OR IGNORE INTO operators (name) VALUES (?)", (operator,))
    values.update(started=now, outcome="running", sample=sample, operator=operator)
    names = [name for name in values if name not in ("sample", "operator")]
    connection.execute(
        f"INSERT INTO runs (id, sample_id, operator_id, {', '.join(names)}) VALUES ("  # noqa: S608 - names of ours, values bound
        f"{NEXT_RUN}, (SELECT id FROM samples WHERE name = :sample), "
        "(SELECT id FROM operators WHERE name = :operator), "
        f"{', '.join(f':{name}' for name in names)})",
        values,
    )
    return int(connection.execute("SELECT max(id) FROM runs").fetchone()[0])


def delete_row(connection: sqlite3.Connection, run_id: int) -> None:
    """Delete a run's row, and the names of a sample and an operator that no other run has."""
    connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))
    for table in ("sample", "operator"):
        connection.execute(
            f"DELETE FROM {table}s WHERE id NOT IN "  # noqa: S608 - names of ours, values bound
            f"(SELECT {table}_id FROM runs WHERE {table}_id IS NOT NULL)"
        )


def insert(connection: sqlite3.Connection, run_id: int, record: FrameRecord) -> int:
    """Add a frame with its cells, and what it tells of the slide; return its id."""
    cursor = connection.execute(INSERT_FRAME, (run_id, *record.frame))
    frame_id = int(cursor.lastrowid or 0)
    cells = [connection.execute(INSERT_CELL, (frame_id, *cell)) for cell in record.cells]
    if record.placement is not None:
        note_placement(
            connection, run_id, record.placement, [int(cell.lastrowid or 0) for cell in cells]
        )
    add_census(connection, frame_id, record.census or {})
    backends.store(connection, frame_id, record.backend)
    return frame_id


def make_census(connection: sqlite3.Connection) -> None:
    """Make the table and view of `CENSUS` where they are not there, in the caller's transaction."""
    for statement in CENSUS.split(";")[:-1]:
        connection.execute(statement)


def add_census(connection: sqlite3.Connection, frame_id: int, counts: Mapping[str, int]) -> None:
    """Store how many cells of each kind a frame has."""
    rows = [(frame_id, kind, cells) for kind, cells in counts.items()]
    if rows:  # without any the table may not be there
        connection.executemany("INSERT INTO census (frame_id, kind, cells) VALUES (?, ?, ?)", rows)


def is_blank(connection: sqlite3.Connection) -> bool:
    """Tell whether nothing was ever stored: a run was killed before it made its tables."""
    return marks(connection) == (0, 0) and not _names(connection)


def marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the file's application id and format version."""
    application, version = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("application_id", "user_version")
    )
    return application, version


def require_ours(connection: sqlite3.Connection, path: Path) -> int:
    """Return the format of an existing results file.

    Raises:
        DataError: it is another program's database, of an unknown format, damaged or changed.
    """
    application, version = marks(connection)
    if application != APPLICATION_ID:
        raise DataError(path, "it is another program's database", "choose another name")
    if not 1 <= version <= FORMAT_VERSION:
        raise DataError(
            path,
            f"results of format {version}, this version writes {FORMAT_VERSION}",
            "choose another name",
        )
    require_plain(connection, path, (*_TABLES, *REVIEW_COLUMNS, *_MADE_ON_DEMAND))
    # Reads every page's header: a cut or overwritten file is found before it is added to.
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DataError(path, f"it is damaged ({found})", "choose another name")
    if missing := _lacks(connection, version):
        raise DataError(
            path,
            f"it was changed: it has no {', '.join(missing[:3])}",
            "choose another name",
        )
    return version


def make(connection: sqlite3.Connection) -> None:
    """Make tables and views in a blank file, in one transaction."""
    _in_one_transaction(connection, TABLES + VIEWS)


def bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Give a file of an older format the columns and views of this one, in one transaction.

    What is stored stays as it is; the time that it takes does not grow with it.
    """
    if version < FORMAT_VERSION:
        there = _columns(connection)
        needed = (step_from(before, there) for before in range(version, FORMAT_VERSION))
        _in_one_transaction(connection, "".join(needed) + VIEWS)


def _lacks(connection: sqlite3.Connection, version: int) -> list[str]:
    """Return which tables and columns of that format a file does not have, sorted."""
    plan = sqlite3.connect(":memory:")
    try:
        plan.executescript(TABLES)
        wanted = _columns(plan)
    finally:
        plan.close()
    for before, added in ADDED.items():
        if version <= before:
            wanted -= added
    return sorted(wanted - _columns(connection))


def newer_columns(connection: sqlite3.Connection, version: int) -> list[str]:
    """Return the columns that a file has though its format has none of them, sorted."""
    added = set().union(*(names for before, names in ADDED.items() if version <= before))
    return sorted((added - EARLY) & _columns(connection))


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {
        f"{table}.{column[1]}"
        for table in (*_TABLES, *REVIEW_COLUMNS)
        for column in connection.execute(f"PRAGMA table_info({table})")
    }


def _names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


def _in_one_transaction(connection: sqlite3.Connection, statements: str) -> None:
    connection.executescript(
        f"BEGIN IMMEDIATE; {statements}"
        f"PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
    )
