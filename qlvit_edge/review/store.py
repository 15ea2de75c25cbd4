"""Reviewing a run in its results file, also from another process while the run goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from qlvit_edge.errors import DataError
from qlvit_edge.microscope.sqlite_errors import patiently, speaking
from qlvit_edge.review import log
from qlvit_edge.review.blind import BLIND, drawable, drawn_from, new_seed
from qlvit_edge.review.cells import RunRow, runs_of
from qlvit_edge.review.checks import final_counts
from qlvit_edge.review.facts import facts_of_cells, facts_of_run
from qlvit_edge.review.names import class_named, required
from qlvit_edge.review.opening import WAIT_SECONDS, open_to_add, transaction
from qlvit_edge.review.records import Kind, ReviewRecord, now
from qlvit_edge.review.reviewed import ReviewedRun, reviewed_run, run_row
from qlvit_edge.review.states import StepError
from qlvit_edge.version import installed_version

T = TypeVar("T")
Also = Callable[[sqlite3.Connection], None]

__all__ = ["ReviewStore", "ReviewedRun", "reviewed_run", "run_row"]


class ReviewStore:
    """A results file in which runs are reviewed; its methods may be called by any thread.

    Each method is one short transaction: what it says is on the disk when it returns, and a run
    that writes meanwhile waits for milliseconds.

    Attributes:
        path: the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        note: Callable[[str], None] = lambda _: None,
        seconds: float = WAIT_SECONDS,
    ) -> None:
        """Open an existing file; one of an older format is brought up to date.

        Args:
            path: the file.
            note: is told what a user should know.
            seconds: how long another program's lock is waited for.

        Raises:
            DataError: it is not there, no results file, damaged, read-only or of a newer format.
            LockedError: it stays locked.
        """
        self.path = path
        self._note, self._seconds = note, seconds
        self._busy = threading.RLock()
        self._connection: sqlite3.Connection | None = open_to_add(path, note, seconds)

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        with self._busy:
            if self._connection is not None:
                with suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None

    def runs(self) -> list[RunRow]:
        """Return the file's runs, by number."""
        return self._read(runs_of)

    def run(self, run: int | None = None) -> ReviewedRun:
        """Return a run with its cells and its review; the last one for None.

        Raises:
            DataError: there is none of that number, or its records were altered.
        """
        return self._read(lambda connection: reviewed_run(connection, self.path, run))

    def records(self, run: int) -> list[ReviewRecord]:
        """Return a run's records.

        Raises:
            DataError: they were altered.
        """
        self._read(lambda connection: log.status_in(connection, self.path, run))
        return self._read(lambda connection: log.records_of(connection, run))

    def confirm(
        self, run: int, cells: Sequence[int], by: str, *, reason: str | None = None
    ) -> ReviewRecord:
        """Say that cells are of the class that the model gave; raises as `change` does."""
        return self._decide("confirm", run, cells, by, reason=reason)

    def change(
        self, run: int, cells: Sequence[int], label: str, *, reason: str, by: str, new: bool = False
    ) -> ReviewRecord:
        """Say that cells are of another class.

        Args:
            run: number of the run.
            cells: numbers of cells, of any of their findings.
            label: their class.
            reason: why.
            by: who says so.
            new: whether the class may be one that the model does not have.

        Returns:
            The record, which is on the disk.

        Raises:
            DataError: the run has no such cell or class, is signed, or a text is missing; or the
                file cannot be written. Nothing is stored.
            LockedError: another program keeps the file locked.
        """
        reason = required(reason, "--reason")
        known = self.run(run).labels
        name = class_named(label, known, new=new)
        return self._decide("change", run, cells, by, label=name, reason=reason)

    def exclude(self, run: int, cells: Sequence[int], *, reason: str, by: str) -> ReviewRecord:
        """Say that cells are not counted; raises as `change` does."""
        reason = required(reason, "--reason")
        return self._decide("exclude", run, cells, by, reason=reason)

    def draw(self, run: int, by: str) -> ReviewRecord:
        """Draw cells at random, to be classed without the model's answer.

        Raises:
            DataError: the run goes on, no accepted cell's frame was kept, cells were drawn before,
                or as `change`.
        """

        def step(connection: sqlite3.Connection, blank: ReviewRecord) -> ReviewRecord:
            found = reviewed_run(connection, self.path, run)
            if found.run.goes_on:
                finding = f"run {run} goes on: not all of its cells can be drawn yet"
                raise DataError(self.path, finding, "wait until it has ended")
            among, seed = drawable(found.cells), new_seed()
            if not among:
                finding = f"run {run} has no accepted cell whose frame was kept"
                raise DataError(self.path, finding, "name a folder with `run --keep` the next time")
            facts = facts_of_run(connection, run)
            return replace(blank, cells=drawn_from(among, seed), seed=seed, facts=facts)

        return self._append("draw", run, by, step)

    def blind(self, run: int, cell: int, label: str | None, by: str) -> ReviewRecord:
        """Say of what class a drawn cell is, by who has not seen the model's answer.

        Args:
            run: number of the run.
            cell: number of a cell that was drawn.
            label: its class, a new one too; None: it is not counted.
            by: who says so.

        Raises:
            DataError: it was not drawn or is classed already; or as `change`.
        """
        name = None
        if label is not None:
            name = class_named(label, self.run(run).labels, new=True)
        return self._decide("blind", run, [cell], by, label=name, reason=BLIND)

    def undo(self, run: int, by: str, number: int | None = None) -> ReviewRecord:
        """Take a decision back: that of a record, or the last one; raises as `change` does."""

        def step(connection: sqlite3.Connection, blank: ReviewRecord) -> ReviewRecord:
            status = log.status_in(connection, self.path, run)
            return replace(blank, undoes=status.last_decision() if number is None else number)

        return self._append("undo", run, by, step)

    def done(self, run: int, by: str) -> ReviewRecord:
        """Say that a reader has looked at every cell: the run is reviewed.

        Raises:
            DataError: unknown cells are left, or cells that nobody has looked at, or the run has
                not ended; or as `change`.
        """
        return self._append("done", run, by, self._complete)

    def sign(self, run: int, by: str, readers: int = 1) -> ReviewRecord:
        """Sign a reviewed run; signed it is once as many readers have as are needed.

        Args:
            run: number of the run.
            by: who signs.
            readers: signatures that are needed, 1 or 2.

        Raises:
            DataError: it is not reviewed, the reader has signed already, or as `done`.
        """
        if readers not in (1, 2):
            raise ValueError(f"one or two readers, not {readers}")

        def step(connection: sqlite3.Connection, blank: ReviewRecord) -> ReviewRecord:
            return replace(self._complete(connection, blank), readers=readers)

        return self._append("sign", run, by, step)

    def reopen(self, run: int, *, reason: str, by: str) -> ReviewRecord:
        """Take signatures back, so that cells can be changed; raises as `change` does."""
        reason = required(reason, "--reason")

        def step(connection: sqlite3.Connection, blank: ReviewRecord) -> ReviewRecord:
            return replace(blank, reason=reason, facts=facts_of_run(connection, run))

        return self._append("reopen", run, by, step)

    def export(self, run: int, *, to: str, by: str, also: Also = lambda _: None) -> ReviewRecord:
        """Note that a signed result is about to leave the file; ``also`` is in the transaction.

        Raises:
            DataError: it is not signed, or what is stored is not what was signed; or as `change`.
        """

        def step(connection: sqlite3.Connection, blank: ReviewRecord) -> ReviewRecord:
            record = replace(self._complete(connection, blank), to=to)
            also(connection)
            return record

        return self._append("export", run, by, step)

    def _decide(
        self,
        kind: Kind,
        run: int,
        cells: Sequence[int],
        by: str,
        *,
        label: str | None = None,
        reason: str | None = None,
    ) -> ReviewRecord:
        def step(connection: sqlite3.Connection, blank: ReviewRecord) -> ReviewRecord:
            numbers = tuple(sorted(set(cells)))
            if not numbers:
                raise DataError(self.path, "no cell is named", "name one by its number")
            try:
                facts = facts_of_cells(connection, run, numbers)
            except KeyError as error:
                finding = f"run {run} has no cell {error.args[0]}"
                raise DataError(self.path, finding, "`results show` lists its cells") from None
            return replace(blank, cells=numbers, label=label, reason=reason, facts=facts)

        return self._append(kind, run, by, step)

    def _complete(self, connection: sqlite3.Connection, blank: ReviewRecord) -> ReviewRecord:
        """The record of a step that speaks of a whole run, which must be seen whole."""
        found = reviewed_run(connection, self.path, blank.run)
        if left := found.left_to_do():
            remedy = "decide on them with `results review`"
            if found.run.goes_on:
                remedy = "wait until it has ended"
            raise DataError(self.path, f"run {blank.run}: {', and '.join(left)}", remedy)
        facts = facts_of_run(connection, blank.run)
        for record in log.records_of(connection, blank.run):
            if record.kind in ("done", "sign", "reopen", "export") and record.facts != facts:
                finding = f"run {blank.run} is not as it was when {record.by} last answered for it"
                raise DataError(self.path, finding, "`results verify` tells more")
        return replace(blank, facts=facts, counts=final_counts(found.cells))

    def _append(
        self,
        kind: Kind,
        run: int,
        by: str,
        step: Callable[[sqlite3.Connection, ReviewRecord], ReviewRecord],
    ) -> ReviewRecord:
        """Add one record in one transaction: made, checked against the state, chained."""
        name = required(by, "--by")

        def add(connection: sqlite3.Connection) -> ReviewRecord:
            run_row(connection, self.path, run)
            status = log.status_in(connection, self.path, run)
            program = f"qlvit-edge {installed_version()}"
            blank = ReviewRecord(run, status.records + 1, now(), name, kind, program, "")
            try:
                if kind not in ("undo", "blind"):  # what these are about is not known yet
                    status.require(blank)
                record = step(connection, blank)
                status.add(record)
            except StepError as error:
                raise DataError(self.path, str(error), error.remedy) from None
            log.append(connection, record, status.state)
            return record

        def in_transaction() -> ReviewRecord:
            with self._busy, speaking(self.path):
                connection = self._require_open()
                with transaction(connection):
                    return add(connection)

        return patiently(in_transaction, self._seconds, self._note, self.path)

    def _read(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Ask in one state of the file."""

        def in_one_state() -> T:
            with self._busy, speaking(self.path):
                connection = self._require_open()
                connection.execute("BEGIN")
                try:
                    return ask(connection)
                finally:
                    connection.execute("ROLLBACK")

        return patiently(in_one_state, self._seconds, self._note, self.path)

    def _require_open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("the results file is closed")
        return self._connection
