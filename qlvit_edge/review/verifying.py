"""Looking for what was altered in a results file: pages, rows, chains, and what they speak of."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.microscope import schema
from qlvit_edge.microscope.sqlite_errors import LockedError
from qlvit_edge.microscope.views import CENSUS, VIEWS
from qlvit_edge.review import log, outbox
from qlvit_edge.review.blind import drawable, drawn_from
from qlvit_edge.review.cells import cells_of
from qlvit_edge.review.checks import final_counts
from qlvit_edge.review.facts import facts_of_cells, facts_of_run
from qlvit_edge.review.opening import reading
from qlvit_edge.review.records import DECISIONS, ReviewRecord
from qlvit_edge.review.states import ReviewStatus

_MOST = 20
"""Findings of SQLite's own check that are told."""


def findings_in(path: Path) -> list[str]:
    """Return what is wrong with a results file; empty where nothing is.

    SQLite's own check of every page, references between rows, every record's hash, and that the
    cells and runs that records speak of are as they were.

    Raises:
        DataError: it is not there, or is no results file of a known format.
        LockedError: another program has it locked.
    """
    try:
        with reading(path) as connection:
            return _findings(connection)
    except LockedError:
        raise
    except DataError as error:
        if _is_damage(error):
            return [str(error).removeprefix(f"{path}: ").rpartition("; ")[0]]
        raise


def _is_damage(error: DataError) -> bool:
    return any(word in str(error) for word in ("it is damaged", "it was changed", "SQLite refuses"))


def _findings(connection: sqlite3.Connection) -> list[str]:
    pages = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MOST})")]
    found = [] if pages == ["ok"] else [" ".join(text.split()) for text in pages]
    found += [
        f"row {row} of {table} refers to {parent}, where there is none"
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST)
    ]
    if not log.has_reviews(connection):
        return found
    found += _of_schema(connection)
    runs = connection.execute(
        "SELECT id FROM runs UNION SELECT run_id FROM reviews UNION SELECT run_id FROM "
        "review_heads ORDER BY 1"
    ).fetchall()
    for (run,) in runs:
        try:
            found += _of_run(connection, run) if run != log.FILE else _of_file(connection)
        except (log.BrokenChainError, KeyError) as error:
            found.append(str(error.args[0]) if error.args else str(error))
    return found + _of_outbox(connection)


def _of_outbox(connection: sqlite3.Connection) -> list[str]:
    try:
        outbox.messages_of(connection)
    except outbox.AlteredOutboxError as error:
        return [str(error)]
    return []


def _of_schema(connection: sqlite3.Connection) -> list[str]:
    """Tables and views must be those of this format: an altered view shows other figures.

    Those of an older format are not known any more; they are made anew when it is brought up to
    date. That the file only says that it is older is found.
    """
    version = schema.marks(connection)[1]
    if version < schema.FORMAT_VERSION:
        newer = schema.newer_columns(connection, version)
        return [f"the number of its format was altered: it has {newer[0]}"] if newer else []
    plan = sqlite3.connect(":memory:")
    try:
        plan.executescript(schema.TABLES + VIEWS + CENSUS)
        wanted, there = _described(plan), _described(connection)
    finally:
        plan.close()
    if "census" not in there:
        wanted = {name: said for name, said in wanted.items() if not name.startswith("census")}
    found = [f"{name} was altered" for name in wanted if there.get(name) != wanted[name]]
    return found


def _described(connection: sqlite3.Connection) -> dict[str, object]:
    """Columns of every table, which may have been added one by one; text of everything else."""
    found: dict[str, object] = {}
    for kind, name, text in connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    ).fetchall():
        if kind == "table":
            info = connection.execute("SELECT * FROM pragma_table_info(?)", (name,))
            found[name] = sorted(map(repr, (row[1:] for row in info)))
        else:
            found[name] = text
    return found


def _of_run(connection: sqlite3.Connection, run: int) -> list[str]:
    status = log.checked_status(connection, run)
    if not status.records:
        return []
    if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone() is None:
        return [f"run {run} has records of a review, but is not there"]
    whole = facts_of_run(connection, run)
    found = []
    for record in log.records_of(connection, run):
        if record.kind in DECISIONS:
            same = _facts_of(connection, record) == record.facts
        else:
            same = record.kind == "undo" or record.facts == whole
        if not same:
            found.append(_altered(record))
    found += outbox.missing_messages(connection, log.records_of(connection, run))
    return found + _draw_of(connection, run) + _counts_of(connection, run, status)


def _facts_of(connection: sqlite3.Connection, record: ReviewRecord) -> str | None:
    try:
        return facts_of_cells(connection, record.run, record.cells)
    except KeyError:
        return None


def _altered(record: ReviewRecord) -> str:
    what = f"cells of run {record.run} were" if record.cells else f"run {record.run} was"
    since = f"record {record.number} ({record.kind}, {record.by}, {record.at})"
    return f"{what} altered since {since}"


def _draw_of(connection: sqlite3.Connection, run: int) -> list[str]:
    """Drawn cells must be those that their seed gives."""
    for record in log.records_of(connection, run):
        if record.kind == "draw":
            cells = cells_of(connection, run, ReviewStatus())
            if drawn_from(drawable(cells), record.seed or "") != record.cells:
                return [f"run {run}: the cells of record {record.number} were not drawn at random"]
    return []


def _counts_of(connection: sqlite3.Connection, run: int, status: ReviewStatus) -> list[str]:
    """What was signed must be what the decisions come to."""
    if not status.is_signed:
        return []
    counts = final_counts(cells_of(connection, run, status))
    signed = [one for one in log.records_of(connection, run) if one.kind == "sign"][-1]
    return [] if signed.counts == counts else [f"run {run}: the signed counts are others"]


def _of_file(connection: sqlite3.Connection) -> list[str]:
    records = log.records_of(connection, log.FILE)
    gone = {run for record in records for run in record.runs}
    back = connection.execute("SELECT id FROM runs").fetchall()
    return [f"run {run} was deleted, and is there" for (run,) in back if run in gone]
