"""The second half of a run's work in a thread of its own, so that neither half waits in between.

One item may wait. Whoever makes items asks for room before it begins one: what could not be
taken on is never made, and a camera leaves out its oldest frames instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

_LEAVE_SECONDS = 2.0
_LOOK_SECONDS = 0.1


class Worker(Generic[T]):
    """Does something with each item, in order, in its own thread."""

    def __init__(self, work: Callable[[T], None], failed: Callable[[], None]) -> None:
        """Set up; the thread starts when the worker is entered.

        Args:
            work: what is done with an item.
            failed: is called once, in that thread, when the work has raised something.
        """
        self._work, self._failed = work, failed
        self._changed = threading.Condition()
        self._waiting: T | None = None
        self._ending = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._go_on, name="answers", daemon=True)

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
        """Do what waits and end the thread; raises what the work raised.

        Who is interrupted waits for nothing: the thread is left alone after a moment.
        """
        hurried = kind is not None and not issubclass(kind, Exception)
        with self._changed:
            self._ending = True
            if hurried:
                self._waiting = None
            self._changed.notify_all()
        self._thread.join(_LEAVE_SECONDS if hurried else None)
        # The reason for leaving, if there is one, matters more than a second error.
        if kind is None and self._error is not None:
            raise self._error

    def has_room(self, stopped: Callable[[], bool]) -> bool:
        """Wait until an item can be given; False where the run is to end before.

        Args:
            stopped: whether it is.

        Raises:
            BaseException: what the work has raised.
        """
        with self._changed:
            while not self._changed.wait_for(self._is_free, timeout=_LOOK_SECONDS):
                if stopped():
                    return False
            if self._error is not None:
                raise self._error
            return True

    def give(self, item: T) -> None:
        """Hand an item over; only where there is room, see `has_room`."""
        with self._changed:
            self._waiting = item
            self._changed.notify_all()

    def _is_free(self) -> bool:
        return self._waiting is None or self._error is not None

    def _go_on(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._work(item)
            except BaseException as error:  # raised where the items come from
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                self._failed()
                return

    def _next(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._ending)
            item, self._waiting = self._waiting, None
            self._changed.notify_all()
            return item
