"""Ctrl-C and SIGTERM as a request to stop, not as an accident in the middle of something."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Stopped(Exception):
    """The user asked to stop while the program was waiting."""


class StopRequest:
    """Takes SIGINT and SIGTERM over while it is entered (in the main thread).

    The first signal sets `requested`; where the program only waits (`interruptible`) it
    also raises `Stopped` there, at once. A second signal interrupts as usual.

    Attributes:
        requested: whether a signal came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._interruptible = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        self._give_back()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal end this block with `Stopped`, also one that came before it."""
        self._interruptible = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._give_back()
        if self._interruptible:
            raise Stopped

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
