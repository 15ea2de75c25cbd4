"""Results in a SQLite file that survives a power cut.

Write-ahead log with `synchronous=FULL`: once `add_frames` has returned, these frames are on
the disk; that is when a run counts them as stored. One file takes many runs, one at a time.
`schema` has the tables, `docs/results.md` explains them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError, UnfitFrameError
from qlvit_edge.microscope import losses, schema
from qlvit_edge.microscope.claim import Claim
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.placing import note_doubtful
from qlvit_edge.microscope.plain_schema import opened
from qlvit_edge.microscope.records import FrameRecord, Outcome, RunInfo, outcome_of
from qlvit_edge.microscope.run_clock import RunClock
from qlvit_edge.microscope.sqlite_errors import LockedError, patiently, speaking
from qlvit_edge.presence import present

OPEN_SECONDS = 30.0
"""A file that another program holds locked for so long when a run begins is refused."""

TRY_SECONDS = 0.25
"""How long SQLite itself waits for a lock; then the caller is told, and tries again."""

PAGE_BYTES = 1024
"""Page size of new files: each transaction writes whole pages, and a group of frames is small."""

LOG_PAGES = 4000
"""Pages in the write-ahead log (4 MB) from which they are moved into the database."""

LOG_BYTES_NOTED = 16 * 2**20
"""Size of the write-ahead log in bytes that is no longer usual."""

_STATE = "dropped_frames = ?, statement = ?, familiar = ?, pauses = ?"

LOG_BYTES_LIMIT = 256 * 2**20
"""Size of the write-ahead log above which nothing is added: another program reads an old state."""


class Results:
    """An open results file with one run going on; its methods may be called by any thread.

    Attributes:
        path: the file.
        run_id: this run's row in `runs`.
        outcome: what that row says.
        dropped_frames: frames that came damaged so far; stored with the frames that follow,
            and at the end, however the run ends.
        statement: whether the run's images and cells are those that the model was made for, in
            words; stored at the same times.
        familiar: the same as yes or no; None where it is not known.
        pauses: returns the run's pauses, see `Pause.stored`; stored at the same times.
        clock: of the run.
        losses: frames lost so far, by where; stored at the same times.
        doubtful: numbers of the unique cells that are doubtful; stored with the frames that follow.
        withdrawn: whether the run was taken back: it was refused before a frame was stored.
    """

    def __init__(
        self,
        path: Path,
        info: RunInfo,
        *,
        note: Callable[[str], None] = lambda _: None,
        open_seconds: float = OPEN_SECONDS,
    ) -> None:
        """Open or make the file and begin a run.

        Args:
            path: the file.
            info: what the run is made with.
            note: is told what a user should know, such as earlier runs that were killed.
            open_seconds: how long to wait for a program that has locked the file.

        Raises:
            DataError: the file is not a results file, is damaged or locked, cannot be written,
                or another run writes to it; what did not exist before is removed again.
        """
        self.path = path
        self.outcome: Outcome = "running"
        self.dropped_frames = 0
        self.statement: str | None = None
        self.familiar: bool | None = None
        self.pauses: Callable[[], str | None] = lambda: None
        self.losses: dict[str, int] = {}
        self.clock = RunClock()
        self.doubtful: Collection[int] = ()
        self.withdrawn = False
        self._stored = False
        self._noted: tuple[object, ...] = (0, None, None, None, {})
        self._note = note
        self._log_noted = False
        self._busy = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._claim = Claim(path)
        try:
            with speaking(path):
                # Frames are added by one thread, and what ends a run by another, later.
                self._connection = opened(path, TRY_SECONDS)
            self.run_id = patiently(lambda: self._open(info), open_seconds, note, path)
            self._claim.keep_reserve()
        except BaseException:
            self._close()
            if not self._claim.existed:
                self._claim.remove()
            self._claim.release()
            raise

    def __enter__(self) -> Self:
        """Nothing more to do: the run has begun."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; a run that was not finished has failed, or was refused."""
        if self._connection is None:
            return
        try:
            if kind is UnfitFrameError and not self._stored and self.outcome == "running":
                self._withdraw()
            # The reason for leaving matters more than a second error while closing.
            with contextlib.suppress(DataError) if kind is not None else contextlib.nullcontext():
                self.finish(outcome_of(kind))
        finally:
            self._close()
            if self.withdrawn and not self._claim.existed:
                self._claim.remove()
            self._claim.release()

    def _withdraw(self) -> None:
        """Take the run back; where that cannot be done, it is a run that failed."""
        with contextlib.suppress(DataError), self._busy, speaking(self.path):
            with self._transaction() as connection:
                schema.delete_row(connection, self.run_id)
            self.outcome, self.withdrawn = "failed", True

    def add_frame(
        self,
        frame: Frame,
        cells: Sequence[ClassifiedCell],
        saved_as: Path | None = None,
        unfit: str | None = None,
    ) -> int:
        """Store a frame and its cells at once; on the disk when this returns.

        Returns:
            The id of its row in `frames`.

        Raises:
            DataError: see `add_frames`.
        """
        (number,) = self.add_frames([FrameRecord.of(frame, cells, saved_as, unfit)])
        return number

    def add_frames(self, records: Sequence[FrameRecord]) -> list[int]:
        """Store frames and their cells in one transaction; on the disk when this returns.

        Returns:
            The ids of their rows in `frames`.

        Raises:
            LockedError: another program has locked the file, or keeps its log from being
                emptied; nothing is stored, try again.
            ResultsLostError: the file was taken away; nothing is stored.
            DataError: the disk is full or the file cannot be written; nothing is stored.
        """
        with self._busy, speaking(self.path):
            self._claim.require_in_place()
            if self._claim.log_bytes() > LOG_BYTES_LIMIT and not self._empty_log():
                raise LockedError(
                    self.path,
                    "another program reads an old state of it, and its log has reached "
                    f"{LOG_BYTES_LIMIT // 2**20} MB",
                    "close that program and start again",
                )
            with self._transaction() as connection:
                numbers = [schema.insert(connection, self.run_id, record) for record in records]
                note_doubtful(connection, self.run_id, self.doubtful)
                state = self._store_state(connection)
            self._noted, self._stored = state, True
            self._watch_log()
            return numbers

    def require_in_place(self) -> None:
        """Raise ResultsLostError where the file was deleted, moved or replaced."""
        self._claim.require_in_place()

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log in bytes."""
        return self._claim.log_bytes()

    def finish(self, outcome: Outcome) -> None:
        """Note how the run ended, unless that was noted before.

        Args:
            outcome: how it ended.

        Raises:
            ResultsLostError: the file was taken away; it says "failed", wherever it is now.
            DataError: the file cannot be written.
        """
        if self.outcome != "running":
            return
        lost = self._claim.lost()
        if lost is not None:
            outcome = "failed"

        def note_end() -> None:
            with self._busy, speaking(self.path), self._transaction() as connection:
                connection.execute(
                    "UPDATE runs SET ended = ?, outcome = ? WHERE id = ?",
                    (self.clock.utc(), outcome, self.run_id),
                )
                self._store_state(connection)

        try:
            note_end()
        except LockedError:
            seconds = 0.0 if outcome == "interrupted" else OPEN_SECONDS
            patiently(note_end, seconds, self._note, self.path)
        except DataError:
            # A full disk: what was kept back, or what the log gives back, is enough for this.
            self._claim.use_reserve()
            try:
                note_end()
            except DataError:
                self._empty_log()
                note_end()
        self.outcome = outcome
        if lost is not None:
            raise lost

    def _store_state(self, connection: sqlite3.Connection) -> tuple[object, ...]:
        """Store what is known of a run besides how it began and ended; returns that."""
        familiar = None if self.familiar is None else int(self.familiar)
        state = self.dropped_frames, self.statement, familiar, self.pauses(), dict(self.losses)
        if state != self._noted:
            connection.execute(f"UPDATE runs SET {_STATE} WHERE id = ?", (*state[:4], self.run_id))  # noqa: S608 - names of ours, values bound
            losses.store(connection, self.run_id, self.losses)
        return state

    def _open(self, info: RunInfo) -> int:
        """Bring the file into shape and add the run's row; returns its number."""
        connection = present(self._connection, "the results file")
        with speaking(self.path):
            self._prepare(connection)
            self._claim.watch_log()
            self._claim.require_in_place()
            return self._begin(connection, info)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        blank = schema.is_blank(connection)
        version = schema.FORMAT_VERSION if blank else schema.require_ours(connection, self.path)
        if blank:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise DataError(
                self.path, "its file system has no write-ahead log", "choose a local disk"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if blank:
            schema.make(connection)
        elif version < schema.FORMAT_VERSION:
            schema.bring_up_to_date(connection, version)
            self._note(
                f"{self.path}: brought from format {version} to {schema.FORMAT_VERSION}; "
                "older versions of this program can no longer add to it"
            )

    def _begin(self, connection: sqlite3.Connection, info: RunInfo) -> int:
        """Add the run's row, and mark runs that were killed: no other run goes on now."""
        with self._transaction():
            if info.find == "all":
                schema.make_census(connection)
            killed = connection.execute(
                "UPDATE runs SET outcome = 'did not end' WHERE outcome = 'running' RETURNING id"
            ).fetchall()
            number = schema.insert_run(connection, info)
        if killed:
            which = ", ".join(str(number) for (number,) in killed)
            self._note(
                f"{self.path}: run {which} did not end (it was killed, or the power went); "
                "what it had stored is there"
            )
        return number

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise ValueError("the results file is closed")
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite itself rolls back on a full disk.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _watch_log(self) -> None:
        """Say, once, when a reader keeps the log from being emptied."""
        large = self._claim.log_bytes() > LOG_BYTES_NOTED and not self._empty_log()
        if large and not self._log_noted:
            self._note(
                f"{self.path}: another program reads an old state of it (a query left open?), so "
                f"its log grows; at {LOG_BYTES_LIMIT // 2**20} MB frames wait until that ends"
            )
        self._log_noted = large

    def _empty_log(self) -> bool:
        """Move the log into the database and start it anew; False where somebody reads."""
        if self._connection is None:
            return False
        try:
            with self._busy:
                busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return False
        return not busy

    def _close(self) -> None:
        # SQLite leaves the log of a file that was moved as it is: its rows would be lost.
        if self._claim.lost() is not None:
            self._empty_log()
        with self._busy:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None
