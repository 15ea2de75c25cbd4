"""Columns of a results file of any format, and of what type their values are."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

_NUMBERS: Final = frozenset(
    {"started", "ended", "crop_margin", "nucleus_area", "probability", "timestamp"}
)
_WHOLE: Final = frozenset(
    {"id", "x", "y", "width", "height", "number", "frame_width", "frame_height", "familiar"}
    | {"cut", "unique_cell", "doubtful", "counted_once", "best"}
)
_EMPTY: Final = frozenset(
    {"ended", "calibration", "familiar", "statement", "sample", "operator", "reason"}
    | {"unique_cell", "doubtful", "saved_as", "kept_as", "cut", "counted_once"}
)
"""Columns of numbers, of whole numbers, and of what may be missing; all others are texts."""


def typed(what: str, names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """Return a row by the names of its columns.

    Raises:
        sqlite3.DatabaseError: a value is of another type than its column: the file is damaged.
    """
    for name, value in zip(names, row, strict=True):
        kind: type | tuple[type, ...] = str
        if name in _NUMBERS:
            kind = (float, int)
        elif name in _WHOLE:
            kind = int
        if not isinstance(value, kind) and not (value is None and name in _EMPTY):
            error = sqlite3.DatabaseError(f"{name} of {what} {row[0]!a} is of another type")
            error.sqlite_errorname = "SQLITE_CORRUPT"
            raise error
    return dict(zip(names, row, strict=True))


def known_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the columns that a table has; none where it is not there."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def selection(connection: sqlite3.Connection, table: str, names: Sequence[str]) -> str:
    """Return columns of a table as SQL, NULL in place of those that an older format lacks."""
    known = known_columns(connection, table)
    return ", ".join(f"{table}.{name}" if name in known else "NULL" for name in names)
