"""Storing results beside the work: a thread of its own waits for the disk, and for locks.

What comes within a moment is stored in one transaction, and counted once that is on the
disk: a row that was counted is never lost. A slow disk is asked less often. While another program
has the results file locked, or the disk is full, frames wait in memory without their pixels, and
the run goes on. Where too many wait, the run waits too (of a file or folder nothing is left out; a
live camera goes on meanwhile). A lock that does not end, or a disk that stays full, ends the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from qlvit_edge.microscope.sqlite_errors import AGAIN_SECONDS, PassingError


class Rows(Protocol):
    """What waits: knows how much it is."""

    @property
    def rows(self) -> int:
        """Rows that it takes in the results file."""


T = TypeVar("T")
R = TypeVar("R", bound=Rows)

MOST_FRAMES_AHEAD = 4
"""Frames, with their pixels, that may wait for the thread; more are held back, not dropped."""

GROUP_SECONDS = 0.02
"""A frame waits so long for others that are stored together with it."""

LONGEST_GROUP_SECONDS = 1.0
"""The same where the disk is slow: the wait is `REST` times as long as the last storing took."""

REST = 4.0

CHECK_SECONDS = 1.0
"""How often the thread looks whether the results file is still in place."""

MOST_ROWS_WAITING = 50_000
"""Rows (frames and cells; about 50 MB) that may wait for a lock before the run waits too."""

LOCK_SECONDS = 300.0
"""A lock, or a full disk, that lasts longer ends the run."""

HURRIED_LOCK_SECONDS = 20.0
"""The same once the user has asked to stop, counted from then."""


@dataclass(frozen=True)
class Patience:
    """How long a writer waits.

    Attributes:
        group_seconds: for other frames to be stored together with one, at least.
        lock_seconds: for another program's lock, or for room on the disk.
        hurried_lock_seconds: the same once a stop was asked for.
        most_rows: rows that may wait before the run waits too.
    """

    group_seconds: float = GROUP_SECONDS
    lock_seconds: float = LOCK_SECONDS
    hurried_lock_seconds: float = HURRIED_LOCK_SECONDS
    most_rows: int = MOST_ROWS_WAITING


@dataclass(frozen=True)
class Steps(Generic[T, R]):
    """What a writer calls, all of it in its own thread.

    Attributes:
        subject: what is stored into, for messages.
        note_down: turns a result into what is stored of it, once for each.
        store: stores several in one transaction; PassingError means "try again later".
        check: raises what must end the run, such as a results file that is gone.
        hurried: whether the user has asked to stop.
        say: is told what a user should know.
        failed: is called once when storing has failed for good.
        waits: is called again and again while a lock, or a full disk, is waited for.
    """

    subject: object
    note_down: Callable[[T], R]
    store: Callable[[Sequence[R]], None]
    check: Callable[[], None] = lambda: None
    hurried: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda text: None
    failed: Callable[[], None] = lambda: None
    waits: Callable[[], None] = lambda: None


class Writer(Generic[T, R]):
    """Gives results, in order and in groups, to a function that stores them."""

    def __init__(self, steps: Steps[T, R], patience: Patience | None = None) -> None:
        """Set up; the thread starts when the writer is entered."""
        self._steps = steps
        self._patience = patience if patience is not None else Patience()
        self._ahead: queue.Queue[T | None] = queue.Queue(MOST_FRAMES_AHEAD)
        self._waiting: list[R] = []
        self._rows = 0
        self._took = 0.0
        self._due: float | None = None
        self._next_check = 0.0
        self._locked_since: float | None = None
        self._over = ""
        self._hurried_since: float | None = None
        self._no_more = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="results", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Store what waits and end the thread; raises what storing raised, see `put`."""
        self._ahead.put(None)
        self._thread.join()
        # The reason for leaving, if there is one, matters more than a second error.
        if kind is None:
            self.complain()

    @property
    def has_room(self) -> bool:
        """Whether `put` would not wait."""
        return not self._ahead.full()

    def put(self, result: T) -> None:
        """Hand over a result; waits while too many wait already.

        Raises:
            Exception: storing an earlier result raised it; nothing was stored since.
        """
        self.complain()
        self._ahead.put(result)

    def complain(self) -> None:
        """Raise what storing raised, if it did."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not (self._no_more and not self._waiting):
                self._receive()
                self._check()
                if self._is_due():
                    self._store()
        except Exception as error:
            self._error = error
            self._steps.failed()
            while not self._no_more:  # nobody may wait for a place in the queue for ever
                self._no_more = self._ahead.get() is None

    def _receive(self) -> None:
        """Wait for a result, or until there is something else to do."""
        until = self._next_check if self._due is None else min(self._due, self._next_check)
        pause = max(0.0, until - time.monotonic())
        if self._no_more or self._is_full():
            time.sleep(min(pause, AGAIN_SECONDS))
            return
        try:
            result = self._ahead.get(timeout=pause) if pause else self._ahead.get_nowait()
        except queue.Empty:
            return
        if result is None:
            self._no_more = True
            return
        try:
            record = self._steps.note_down(result)
        except Exception:
            self._store()  # what came before is good
            raise
        self._waiting.append(record)
        self._rows += record.rows
        if self._due is None:
            self._due = time.monotonic() + self._group_seconds()

    def _group_seconds(self) -> float:
        return max(self._patience.group_seconds, min(REST * self._took, LONGEST_GROUP_SECONDS))

    def _is_full(self) -> bool:
        return self._rows >= self._patience.most_rows

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        now = time.monotonic()
        if self._locked_since is not None:
            return self._due is not None and now >= self._due
        return self._no_more or self._is_full() or self._due is None or now >= self._due

    def _check(self) -> None:
        if time.monotonic() >= self._next_check:
            self._steps.check()
            self._next_check = time.monotonic() + CHECK_SECONDS

    def _store(self) -> None:
        if not self._waiting:
            return
        began = time.monotonic()
        try:
            self._steps.store(self._waiting)
        except PassingError as error:
            self._wait_for_it(error)
            return
        self._took = time.monotonic() - began
        if self._locked_since is not None:
            seconds = time.monotonic() - self._locked_since
            self._steps.say(
                f"{self._steps.subject}: {self._over} after {seconds:.0f} s; "
                f"{_frames(len(self._waiting))} that waited are stored"
            )
        self._waiting, self._rows, self._due, self._locked_since = [], 0, None, None

    def _wait_for_it(self, error: PassingError) -> None:
        """Try again a little later; say so the first time, and give up in the end."""
        now, patience = time.monotonic(), self._patience
        if self._hurried_since is None and self._steps.hurried():
            self._hurried_since = now
        if self._locked_since is None:
            self._locked_since = now
            self._over = error.over
            self._steps.say(
                f"{self._steps.subject}: {error.finding}; the run goes on, its frames wait in "
                f"memory (for {patience.lock_seconds:.0f} s at most)"
            )
        hurried = self._hurried_since
        if now - self._locked_since >= patience.lock_seconds or (
            hurried is not None and now - hurried >= patience.hurried_lock_seconds
        ):
            raise type(error)(
                self._steps.subject,
                f"{error.finding} for {now - self._locked_since:.0f} s, and "
                f"{_frames(len(self._waiting))} that waited could not be stored",
                error.remedy,
            )
        self._steps.waits()
        self._due = now + AGAIN_SECONDS


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"
