"""Storing results beside the work: a thread of its own waits for the disk.

Every frame is still on the disk before it is counted; but the next one is looked at
meanwhile, so that a slow disk does not slow the microscope until it is really behind.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

MOST_WAITING = 4
"""Results that may wait for the disk; more are held back, not dropped."""


class Writer(Generic[T]):
    """Gives results, one after the other and in order, to a function that stores them."""

    def __init__(self, store: Callable[[T], None]) -> None:
        """``store`` is called in the writer's thread, for one result at a time."""
        self._store = store
        self._waiting: queue.Queue[T | None] = queue.Queue(MOST_WAITING)
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
        self._waiting.put(None)
        self._thread.join()
        # The reason for leaving, if there is one, matters more than a second error.
        if kind is None:
            self._complain()

    def put(self, result: T) -> None:
        """Hand over a result; waits while too many wait already.

        Raises:
            Exception: storing an earlier result raised it; nothing was stored since.
        """
        self._complain()
        self._waiting.put(result)

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (result := self._waiting.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._store(result)
            except Exception as error:
                self._error = error
