"""What is stored of cells and runs, as the records of a review are bound to it.

The columns are named here, and an older format's missing ones are NULL: what a later format adds
changes no hash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from qlvit_edge.microscope import backends
from qlvit_edge.review.chain import digest_of_rows
from qlvit_edge.review.columns import known_columns, selection

_RUN: Final = (
    *("id", "started", "model", "model_sha256", "runtime", "kernels", "camera", "cell_size"),
    *("crop_margin", "accept_at", "program", "find", "calibration"),
)
_END: Final = ("ended", "outcome", "dropped_frames", "statement", "familiar", "pauses")
"""Of a run, too, but it changes them until it has ended."""

_FRAME: Final = (
    *("number", "timestamp", "source", "width", "height", "saved_as", "position_ms", "unfit"),
    "kept_as",
)
_CELL: Final = (
    *("id", "frame_id", "x", "y", "width", "height", "nucleus_area", "label", "probability"),
    *("probabilities", "verdict", "cut", "reason"),
)
_PLACE: Final = ("island", "slide_x", "slide_y", "unique_cell", "doubtful")
"""Of a cell, too, but a run changes them until it has ended."""

_AT_ONCE = 500

_OF_RUN = """SELECT {columns}, samples.name, samples.created, operators.name FROM runs
LEFT JOIN samples ON samples.id = sample_id
LEFT JOIN operators ON operators.id = operator_id WHERE runs.id = ?"""


def facts_of_cells(connection: sqlite3.Connection, run: int, cells: Sequence[int]) -> str:
    """Return the hash of some cells, their frames and run, without what the run still changes.

    Raises:
        KeyError: the run has no cell of that number.
    """
    return digest_of_rows(_rows_of_cells(connection, run, sorted(set(cells))))


def _rows_of_cells(connection: sqlite3.Connection, run: int, cells: Sequence[int]) -> Iterator[Any]:
    made_with = _OF_RUN.format(columns=selection(connection, "runs", _RUN))
    yield from map(list, connection.execute(made_with, (run,)))
    of_cells = selection(connection, "cells", _CELL)
    of_frames = selection(connection, "frames", _FRAME)
    for start in range(0, len(cells), _AT_ONCE):
        some = cells[start : start + _AT_ONCE]
        found = connection.execute(
            f"SELECT {of_cells}, {of_frames} "  # noqa: S608 - names of ours, values bound
            "FROM cells JOIN frames ON frames.id = cells.frame_id "
            f"WHERE run_id = ? AND cells.id IN ({', '.join('?' * len(some))}) ORDER BY cells.id",
            (run, *some),
        ).fetchall()
        if len(found) != len(some):
            raise KeyError(min(set(some) - {row[0] for row in found}))
        yield from map(list, found)


def facts_of_run(connection: sqlite3.Connection, run: int) -> str:
    """Return the hash of all that is stored of a run that has ended."""
    return digest_of_rows(_rows_of_run(connection, run))


def _rows_of_run(connection: sqlite3.Connection, run: int) -> Iterator[Any]:
    of_frames = selection(connection, "frames", _FRAME)
    queries = [
        _OF_RUN.format(columns=selection(connection, "runs", (*_RUN, *_END))),
        f"SELECT id, {of_frames} FROM frames WHERE run_id = ? ORDER BY id",  # noqa: S608 - names of ours, values bound
        f"SELECT {selection(connection, 'cells', (*_CELL, *_PLACE))} FROM cells "  # noqa: S608 - names of ours, values bound
        "JOIN frames ON frames.id = frame_id WHERE run_id = ? ORDER BY cells.id",
        "SELECT number, joined_to, x, y FROM islands WHERE run_id = ? ORDER BY number",
    ]
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'census'").fetchone():
        queries.append(
            "SELECT frame_id, kind, cells FROM census JOIN frames ON frames.id = frame_id "
            "WHERE run_id = ? ORDER BY 1, 2"
        )
    if backends.is_there(connection):
        queries.append(
            "SELECT frame_id, backend, frame_backends.reason FROM frame_backends "
            "JOIN frames ON frames.id = frame_id WHERE run_id = ? ORDER BY 1"
        )
    if "counted_once" in known_columns(connection, "runs"):
        queries += [
            "SELECT counted_once FROM runs WHERE id = ? AND counted_once IS NOT NULL",
            "SELECT number, best, quality, doubtful FROM unique_cells WHERE run_id = ? ORDER BY 1",
        ]
    for query in queries:
        yield from map(list, connection.execute(query, (run,)))
