"""The tables and views of a results file, and how older files are brought up to date.

Tables hold values as they were measured (times in seconds since 1970, UTC; boxes in pixels;
probabilities from 0 to 1). Views are for people: local times, percent, one run by its
number. `docs/results.md` lists every column.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.microscope.placing import note_placement
from qlvit_edge.microscope.records import CELL_COLUMNS, FRAME_COLUMNS, FrameRecord

APPLICATION_ID = 0x514C5645
"""Marks a SQLite file as ours ("QLVE")."""

FORMAT_VERSION = 4

TABLES = """
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
    calibration TEXT
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
    unfit TEXT
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

_FROM_1_TO_2 = """
ALTER TABLE runs ADD COLUMN find TEXT NOT NULL DEFAULT 'cells';
ALTER TABLE runs ADD COLUMN dropped_frames INTEGER NOT NULL DEFAULT 0;
ALTER TABLE frames ADD COLUMN position_ms REAL;
ALTER TABLE cells ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
"""

_FROM_2_TO_3 = """
ALTER TABLE runs ADD COLUMN statement TEXT;
ALTER TABLE runs ADD COLUMN familiar INTEGER;
ALTER TABLE cells ADD COLUMN reason TEXT;
ALTER TABLE frames ADD COLUMN unfit TEXT;
DROP VIEW IF EXISTS run_list;
DROP VIEW IF EXISTS frame_list;
DROP VIEW IF EXISTS cell_list;
DROP VIEW IF EXISTS class_counts;
"""

_FROM_3_TO_4 = """
ALTER TABLE runs ADD COLUMN calibration TEXT;
ALTER TABLE cells ADD COLUMN island INTEGER;
ALTER TABLE cells ADD COLUMN slide_x REAL;
ALTER TABLE cells ADD COLUMN slide_y REAL;
ALTER TABLE cells ADD COLUMN unique_cell INTEGER;
ALTER TABLE cells ADD COLUMN doubtful INTEGER;
CREATE TABLE islands (
    run_id INTEGER NOT NULL REFERENCES runs (id),
    number INTEGER NOT NULL,
    joined_to INTEGER,
    x REAL NOT NULL DEFAULT 0,
    y REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, number)
);
DROP VIEW IF EXISTS cell_list;
"""

_ADDED = {
    1: {"runs.find", "runs.dropped_frames", "frames.position_ms", "cells.cut"},
    2: {"runs.statement", "runs.familiar", "cells.reason", "frames.unfit"},
    3: {"runs.calibration"}
    | {f"cells.{name}" for name in ("island", "slide_x", "slide_y", "unique_cell", "doubtful")}
    | {f"islands.{name}" for name in ("run_id", "number", "joined_to", "x", "y")},
}
"""Columns that files of a format lack, besides those that later ones lack."""

_LOCAL = "strftime('%Y-%m-%d %H:%M:{seconds}', {column}, 'unixepoch', 'localtime')"


def _local(column: str, seconds: str = "%S") -> str:
    return _LOCAL.format(column=column, seconds=seconds)


VIEWS = f"""
CREATE VIEW IF NOT EXISTS run_list AS
SELECT
    runs.id AS run,
    {_local("started")} AS started_local,
    {_local("coalesce(ended, max(frames.timestamp))")} AS ended_local,
    round(coalesce(ended, max(frames.timestamp)) - started, 1) AS duration_s,
    outcome,
    model,
    camera,
    find,
    count(frames.id) AS frames,
    dropped_frames,
    (SELECT count(*) FROM cells JOIN frames AS f ON f.id = cells.frame_id
        WHERE f.run_id = runs.id) AS cells,
    (SELECT count(*) FROM cells JOIN frames AS f ON f.id = cells.frame_id
        WHERE f.run_id = runs.id AND verdict = 'uncertain') AS uncertain_cells,
    (SELECT count(*) FROM cells JOIN frames AS f ON f.id = cells.frame_id
        WHERE f.run_id = runs.id AND verdict = 'accepted') AS accepted_cells,
    CASE familiar WHEN 1 THEN 'yes' WHEN 0 THEN 'no' ELSE 'not known' END AS familiar,
    statement,
    round(100 * accept_at, 1) AS accept_at_percent,
    program
FROM runs LEFT JOIN frames ON frames.run_id = runs.id
GROUP BY runs.id;
CREATE VIEW IF NOT EXISTS frame_list AS
SELECT
    frames.run_id AS run,
    frames.number AS frame,
    {_local("frames.timestamp", "%f")} AS taken_local,
    round(frames.position_ms / 1000, 3) AS position_s,
    frames.source AS source,
    frames.width AS width_px,
    frames.height AS height_px,
    (SELECT count(*) FROM cells WHERE cells.frame_id = frames.id) AS cells,
    frames.unfit AS unfit,
    frames.saved_as AS picture
FROM frames;
CREATE VIEW IF NOT EXISTS cell_list AS
SELECT
    frames.run_id AS run,
    frames.number AS frame,
    cells.id AS cell,
    {_local("frames.timestamp", "%f")} AS taken_local,
    round(frames.position_ms / 1000, 3) AS position_s,
    frames.source AS source,
    cells.label AS label,
    round(100 * cells.probability, 1) AS probability_percent,
    cells.verdict AS verdict,
    cells.reason AS reason,
    CASE cells.cut WHEN 0 THEN 'no' ELSE 'yes' END AS cut_by_edge,
    cells.x AS x_px,
    cells.y AS y_px,
    cells.width AS width_px,
    cells.height AS height_px,
    round(nullif(cells.nucleus_area, 0), 1) AS nucleus_px2,
    cells.unique_cell AS unique_cell,
    CASE cells.doubtful WHEN 0 THEN 'no' WHEN 1 THEN 'yes' END AS doubtful,
    coalesce(islands.joined_to, islands.number) AS island,
    round(cells.slide_x + islands.x, 1) AS slide_x_px,
    round(cells.slide_y + islands.y, 1) AS slide_y_px,
    frames.saved_as AS picture
FROM cells JOIN frames ON frames.id = cells.frame_id
LEFT JOIN islands ON islands.run_id = frames.run_id AND islands.number = cells.island;
CREATE VIEW IF NOT EXISTS class_counts AS
SELECT
    frames.run_id AS run,
    cells.label AS label,
    count(*) AS cells,
    sum(cells.verdict = 'accepted') AS accepted,
    sum(cells.verdict = 'uncertain') AS uncertain,
    sum(cells.verdict = 'unknown cell') AS unknown_cells,
    sum(cells.verdict = 'foreign image') AS foreign_images,
    sum(cells.verdict = 'abstained') AS abstained,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY frames.run_id), 1) AS share_percent
FROM cells JOIN frames ON frames.id = cells.frame_id
GROUP BY frames.run_id, cells.label;
"""


def _inserting(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})"


CENSUS = """
CREATE TABLE IF NOT EXISTS census (
    frame_id INTEGER NOT NULL REFERENCES frames (id),
    kind TEXT NOT NULL,
    cells INTEGER NOT NULL,
    PRIMARY KEY (frame_id, kind)
) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS census_list AS
SELECT
    frames.run_id AS run,
    frames.number AS frame,
    frames.source AS source,
    census.kind AS kind,
    census.cells AS cells
FROM census JOIN frames ON frames.id = census.frame_id;
"""
"""Cells counted in a frame beside those that are classified; made in files of any format by the
first run that counts."""

INSERT_FRAME = _inserting("frames", ("run_id", *FRAME_COLUMNS))
INSERT_CELL = _inserting("cells", ("frame_id", *CELL_COLUMNS))


def insert(connection: sqlite3.Connection, run_id: int, record: FrameRecord) -> int:
    """Add a frame with its cells, and what it tells of the slide; return its id."""
    cursor = connection.execute(INSERT_FRAME, (run_id, *record.frame))
    frame_id = int(cursor.lastrowid or 0)
    connection.executemany(INSERT_CELL, [(frame_id, *cell) for cell in record.cells])
    if record.placement is not None:
        note_placement(connection, run_id, record.placement)
    add_census(connection, frame_id, record.census or {})
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
    steps = {1: _FROM_1_TO_2, 2: _FROM_2_TO_3, 3: _FROM_3_TO_4}
    if version < FORMAT_VERSION:
        needed = "".join(step for before, step in steps.items() if before >= version)
        _in_one_transaction(connection, needed + VIEWS)


def _lacks(connection: sqlite3.Connection, version: int) -> list[str]:
    """Return which tables and columns of that format a file does not have, sorted."""
    plan = sqlite3.connect(":memory:")
    try:
        plan.executescript(TABLES)
        wanted = _columns(plan)
    finally:
        plan.close()
    for before, added in _ADDED.items():
        if version <= before:
            wanted -= added
    return sorted(wanted - _columns(connection))


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {
        f"{table}.{column[1]}"
        for table in ("runs", "frames", "cells", "islands")
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
