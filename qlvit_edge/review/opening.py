"""Opening a results file: to read it as it is, whatever its format, or to add to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.microscope import schema
from qlvit_edge.microscope.claim import NETWORK_DISKS, Claim, file_system
from qlvit_edge.microscope.plain_schema import opened
from qlvit_edge.microscope.sqlite_errors import patiently, speaking

TRY_SECONDS = 0.25
"""How long SQLite itself waits for a lock."""

WAIT_SECONDS = 10.0
"""A file that stays locked for so long is not waited for."""

_NAME_ONE = "name a results file of `qlvit-edge run`"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a results file of any format to read it, in one state from beginning to end.

    A run may write to it meanwhile.

    Raises:
        DataError: it is not there, is no results file, is damaged, or of a newer format.
        LockedError: another program has it locked.
    """
    with speaking(path):
        connection = _connect(path, _mode_for(path))
        try:
            connection.execute("PRAGMA query_only = ON")
            _require_results(connection, path)
            connection.execute("BEGIN")
            yield connection
        finally:
            with suppress(sqlite3.Error):
                connection.close()


def open_to_add(
    path: Path, note: Callable[[str], None], seconds: float = WAIT_SECONDS
) -> sqlite3.Connection:
    """Open a results file to add to it; one of an older format is brought up to date.

    The connection may be used by any thread, one at a time.

    Raises:
        DataError: it is not there, is no results file, is damaged, cannot be written, or is of a
            newer format.
        LockedError: another program has it locked.
    """
    with speaking(path):
        connection = _connect(path, "rw")
        try:
            patiently(lambda: _prepare(connection, path, note), seconds, note, path)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all of a block, or nothing; on the disk at its end."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back on a full disk
            connection.execute("ROLLBACK")
        raise


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep runs out of an existing results file for this block.

    To be entered before the file is opened, and left after it is closed.

    Raises:
        DataError: it is not there, or a run is writing to it.
    """
    _require_file(path)
    claim = Claim(path)
    try:
        yield
    finally:
        claim.release()


def mark_ended(path: Path) -> None:
    """Note of runs that were killed that they did not end, as the next run would.

    Raises:
        DataError: a run goes on, or the file cannot be written.
    """
    with alone(path):
        connection = open_to_add(path, lambda _: None)
        try:
            with speaking(path), transaction(connection):
                connection.execute(
                    "UPDATE runs SET outcome = 'did not end' WHERE outcome = 'running'"
                )
        finally:
            connection.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    _require_file(path)
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return opened(uri, TRY_SECONDS, uri=True)


def _mode_for(path: Path) -> str:
    """How to open a file for reading: so that its log goes again, where that can be written."""
    beside = os.access(path.absolute().parent, os.W_OK)
    if beside and os.access(path, os.W_OK):
        return "rw"
    return "ro" if beside or Path(f"{path}-wal").exists() else "ro&immutable=1"


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(path, "is a folder", _NAME_ONE)
    if not path.exists():
        raise DataError(path, "no such file", _NAME_ONE)
    if not path.is_file():
        raise DataError(path, "it is no file", _NAME_ONE)


def _require_results(connection: sqlite3.Connection, path: Path) -> int:
    """Return the format of a file that is open."""
    try:
        blank = schema.is_blank(connection)
        _, version = schema.marks(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise DataError(path, "it is not a results file", _NAME_ONE) from None
        raise
    if blank:
        raise DataError(path, "it holds no run", "make one with `qlvit-edge run`")
    application, _ = schema.marks(connection)
    if application == schema.APPLICATION_ID and version > schema.FORMAT_VERSION:
        finding = (
            f"results of format {version}, made by a newer version of this program, which knows "
            f"formats up to {schema.FORMAT_VERSION}"
        )
        raise DataError(path, finding, "use that version")
    return schema.require_ours(connection, path)


def _prepare(connection: sqlite3.Connection, path: Path, note: Callable[[str], None]) -> None:
    with speaking(path):
        version = _require_results(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        if file_system(path.absolute().parent) in NETWORK_DISKS:
            raise DataError(path, "it lies on a network disk", "copy it to a local disk")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise DataError(
                path, "its file system has no write-ahead log", "copy it to a local disk"
            )
        if version < schema.FORMAT_VERSION:
            _bring_up_to_date(connection, path, version, note)
        else:
            _require_writable(connection)


def _bring_up_to_date(
    connection: sqlite3.Connection, path: Path, version: int, note: Callable[[str], None]
) -> None:
    try:
        schema.bring_up_to_date(connection, version)
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if schema.marks(connection)[1] != schema.FORMAT_VERSION:  # not done by another program
            raise
        return
    note(
        f"{path}: brought from format {version} to {schema.FORMAT_VERSION}; older versions of "
        "this program can no longer add to it"
    )


def _require_writable(connection: sqlite3.Connection) -> None:
    """Find out that a file cannot be written before a person has worked on it."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
