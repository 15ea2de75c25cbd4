"""The chains of records in a results file: read with every hash checked, and added to."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.review.chain import BEGINNING, link
from qlvit_edge.review.records import ReviewRecord, read_record
from qlvit_edge.review.states import ReviewStatus, StepError, status_of

FILE = 0
"""In place of a run's number: what is said of the file."""

_RESTORE = "restore a backup; `results verify` lists all that was altered"


class BrokenChainError(ValueError):
    """Records that are not as they were written; the text says which and how."""


@dataclass(frozen=True)
class Signature:
    """What makes a run a result.

    Attributes:
        number: of its record.
        at: when, UTC, ISO 8601.
        hash: of its record in the chain.
        corrects: whether the run has left the file as a result before, signed otherwise.
    """

    number: int
    at: str
    hash: str
    corrects: bool


def has_reviews(connection: sqlite3.Connection) -> bool:
    """Tell whether a file is of a format that has reviews."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'reviews'").fetchone()
    return found is not None


def records_of(connection: sqlite3.Connection, run: int) -> list[ReviewRecord]:
    """Return a run's records; with `FILE` the file's.

    Raises:
        BrokenChainError: one is missing, or was altered.
    """
    if not has_reviews(connection):
        return []
    found, last = [], BEGINNING
    rows = connection.execute(
        "SELECT number, content, hash FROM reviews WHERE run_id = ? ORDER BY number", (run,)
    )
    for expected, (number, text, stored) in enumerate(rows, start=1):
        if number != expected:
            raise BrokenChainError(f"record {expected} of {_said(run)} is missing")
        record = _checked(run, expected, text)
        last = link(last, text)
        if stored != last:
            raise BrokenChainError(f"record {number} of {_said(run)} was altered")
        found.append(record)
    head = connection.execute(
        "SELECT records, hash FROM review_heads WHERE run_id = ?", (run,)
    ).fetchone()
    if head != ((len(found), last) if found else None):
        raise BrokenChainError(f"the last records of {_said(run)} are missing or were altered")
    return found


def _checked(run: int, number: int, text: object) -> ReviewRecord:
    try:
        record = read_record(text if isinstance(text, str) else "")
    except ValueError as error:
        finding = f"record {number} of {_said(run)} was altered: it {error}"
        raise BrokenChainError(finding) from None
    if (record.run, record.number) != (run, number):
        raise BrokenChainError(f"record {number} of {_said(run)} was altered: it is another's")
    return record


def status_in(connection: sqlite3.Connection, path: Path, run: int) -> ReviewStatus:
    """Return the state of a run's review.

    Raises:
        DataError: its records were altered.
    """
    try:
        return checked_status(connection, run)
    except BrokenChainError as error:
        raise DataError(path, str(error), _RESTORE) from None


def checked_status(connection: sqlite3.Connection, run: int) -> ReviewStatus:
    """Return the state of a run's review, which is the stored one.

    Raises:
        BrokenChainError: its records were altered, or are in an order that is none.
    """
    try:
        status = status_of(records_of(connection, run))
    except StepError as error:
        raise BrokenChainError(
            f"the records of {_said(run)} contradict themselves: {error}"
        ) from None
    if status.records:
        (state,) = connection.execute(
            "SELECT state FROM review_heads WHERE run_id = ?", (run,)
        ).fetchone()
        if state != status.state:
            raise BrokenChainError(f"the state of {_said(run)} was altered")
    return status


def append(connection: sqlite3.Connection, record: ReviewRecord, state: str) -> str:
    """Add a record in the caller's transaction; return its hash."""
    row = connection.execute(
        "SELECT hash FROM review_heads WHERE run_id = ?", (record.run,)
    ).fetchone()
    text = record.text()
    found = link(BEGINNING if row is None else str(row[0]), text)
    connection.execute(
        "INSERT INTO reviews (run_id, number, content, hash) VALUES (?, ?, ?, ?)",
        (record.run, record.number, text, found),
    )
    connection.execute(
        "INSERT INTO review_heads (run_id, records, hash, state) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (run_id) DO UPDATE SET records = excluded.records, hash = excluded.hash, "
        "state = excluded.state",
        (record.run, record.number, found, state),
    )
    return found


def head_of(connection: sqlite3.Connection, run: int) -> str | None:
    """Return the hash of a run's last record; None without one."""
    if not has_reviews(connection):
        return None
    row = connection.execute("SELECT hash FROM review_heads WHERE run_id = ?", (run,)).fetchone()
    return None if row is None else str(row[0])


def signature_of(connection: sqlite3.Connection, run: int) -> Signature:
    """Return the last signature of a run that stands signed.

    Raises:
        BrokenChainError: its records were altered.
    """
    records = records_of(connection, run)
    last = max(one.number for one in records if one.kind == "sign")
    (found,) = connection.execute(
        "SELECT hash FROM reviews WHERE run_id = ? AND number = ?", (run, last)
    ).fetchone()
    left = any(one.kind == "export" and one.number < last for one in records)
    return Signature(last, records[last - 1].at, str(found), left)


def _said(run: int) -> str:
    return "the file" if run == FILE else f"run {run}"
