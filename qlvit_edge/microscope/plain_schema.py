"""A results file from elsewhere is data: nothing in it that SQLite would execute is let run.

A schema can hold code: triggers change what is stored, a view or a generated column in a table's
place computes what is read, without an end if it likes. This program makes none of these in its
tables, so a file that has them was changed, and is refused before anything of it is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.text import plain

MOST_BYTES = 64 * 1024 * 1024
"""Of one value; the largest that this program stores is a message of some hundred kB."""

_LONGEST_DEFAULT = 100
_GENERATED = (2, 3)
_EXPRESSION = -2


def opened(database: str | Path, seconds: float, *, uri: bool = False) -> sqlite3.Connection:
    """Open a results file so that nothing its schema says is trusted, and no value is endless.

    Any thread may use it, one at a time; transactions are begun by the caller.

    Args:
        database: path, or URI.
        seconds: how long SQLite itself waits for a lock.
        uri: whether it is a URI.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        database, uri=uri, timeout=seconds, isolation_level=None, check_same_thread=False
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def require_plain(connection: sqlite3.Connection, path: Path, tables: Collection[str]) -> None:
    """Refuse a file in which something is executed when tables are read or written.

    Views that nobody asks for, and tables and indexes of the user's own, may stay.

    Args:
        connection: to the file.
        path: of the file.
        tables: names of this program's tables; those that are not there are passed over.

    Raises:
        DataError: it has a trigger; one of the tables is none, or has a column that is computed
            or filled in with much; or an index computes something.
    """
    kinds = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    for kind, name, sql in kinds:
        if kind == "trigger":
            raise _changed(path, f"a trigger, {_named(name)}")
        if kind == "index":
            _require_columns_only(connection, path, str(name))
        elif str(name).lower() in tables and (
            kind != "table" or not str(sql).upper().startswith("CREATE TABLE")
        ):
            raise _changed(path, f"no table {_named(name)} but something of that name")
    for table in tables:
        for _, name, _, _, default, _, hidden in connection.execute(f"PRAGMA table_xinfo({table})"):
            if hidden in _GENERATED:
                raise _changed(path, f"a computed column, {_named(f'{table}.{name}')}")
            if len(str(default)) > _LONGEST_DEFAULT:
                raise _changed(path, f"a long default for {_named(f'{table}.{name}')}")


def _require_columns_only(connection: sqlite3.Connection, path: Path, name: str) -> None:
    quoted = name.replace('"', '""')
    for row in connection.execute(f'PRAGMA index_xinfo("{quoted}")'):
        if row[1] == _EXPRESSION:
            raise _changed(path, f"a computed index, {_named(name)}")


def _named(name: object) -> str:
    return repr(plain(str(name))[:80])


def _changed(path: Path, what: str) -> DataError:
    remedy = "do not use it, and ask where it comes from"
    return DataError(path, f"it was changed: it has {what}", remedy)
