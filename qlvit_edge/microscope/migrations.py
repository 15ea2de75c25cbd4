"""From each format of the results file to the next, and what each has added."""

from __future__ import annotations

from collections.abc import Collection

from qlvit_edge.microscope.review_tables import OUTBOX, OUTBOX_COLUMNS, REVIEW, REVIEW_COLUMNS

UNIQUE = """
CREATE TABLE unique_cells (
    run_id INTEGER NOT NULL REFERENCES runs (id),
    number INTEGER NOT NULL,
    best INTEGER NOT NULL,
    quality REAL NOT NULL,
    doubtful INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, number)
) WITHOUT ROWID;
"""
"""Cells of the slide where each is counted once, with the finding that shows them best."""

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

_FROM_4_TO_5 = f"""{REVIEW}
ALTER TABLE runs ADD COLUMN sample_id INTEGER REFERENCES samples (id);
ALTER TABLE runs ADD COLUMN operator_id INTEGER REFERENCES operators (id);
ALTER TABLE frames ADD COLUMN kept_as TEXT;
DROP VIEW IF EXISTS run_list;
"""

_FROM_5_TO_6 = f"""{UNIQUE}
ALTER TABLE runs ADD COLUMN counted_once INTEGER;
DROP VIEW IF EXISTS run_list;
DROP VIEW IF EXISTS cell_list;
DROP VIEW IF EXISTS class_counts;
"""

ADDED = {
    1: {"runs.find", "runs.dropped_frames", "frames.position_ms", "cells.cut"},
    2: {"runs.statement", "runs.familiar", "cells.reason", "frames.unfit"},
    3: {"runs.calibration"}
    | {f"cells.{name}" for name in ("island", "slide_x", "slide_y", "unique_cell", "doubtful")}
    | {f"islands.{name}" for name in ("run_id", "number", "joined_to", "x", "y")},
    4: {"runs.sample_id", "runs.operator_id", "frames.kept_as"}
    | {f"{table}.{name}" for table, names in REVIEW_COLUMNS.items() for name in names},
    5: {"runs.counted_once", "runs.pauses"}
    | {f"unique_cells.{name}" for name in ("run_id", "number", "best", "quality", "doubtful")}
    | {f"outbox.{name}" for name in OUTBOX_COLUMNS},
}
"""Columns that files of a format lack, besides those that later ones lack."""

EARLY = {"runs.pauses", *(f"outbox.{name}" for name in OUTBOX_COLUMNS)}
"""Of the columns that files of format 5 lack those that some of them have."""

_STEPS = {
    **{1: _FROM_1_TO_2, 2: _FROM_2_TO_3, 3: _FROM_3_TO_4, 4: _FROM_4_TO_5},
    **{5: _FROM_5_TO_6},
}


def step_from(version: int, there: Collection[str]) -> str:
    """Return what brings a file of a format to the next one, as SQL.

    Args:
        version: the file's format.
        there: the columns that it has, as "table.column".
    """
    step = _STEPS[version]
    if version == 5 and "runs.pauses" not in there:
        step += "ALTER TABLE runs ADD COLUMN pauses TEXT;\n"
    if version == 5 and "outbox.id" not in there:
        step += OUTBOX
    return step
