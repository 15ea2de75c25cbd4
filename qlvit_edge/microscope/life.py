"""Signs that a run is alive: frames that were answered and stored, and waiting that is declared.

A clock that merely goes on proves nothing. What watches a program from outside is told only of
these; a camera, a model or a disk that hangs gives neither.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

FOR_CAMERA: Final = "waiting for the camera"
PAUSED: Final = "paused"
FOR_MODEL: Final = "waiting to start the model's process again"
FOR_RESULTS: Final = "waiting for the results file"
FOR_SAMPLE: Final = "waiting for the next sample"


def _nobody(_: str | None) -> None:
    """Nobody listens."""


class Life:
    """Passes the signs of one run on; any thread may give one.

    Attributes:
        listener: called with each sign, in the thread that gives it: what the run waits for,
            or None when frames were stored.
    """

    def __init__(self) -> None:
        self.listener: Callable[[str | None], None] = _nobody
        self._lock = threading.Lock()
        self._under_way = 0

    def took(self) -> None:
        """Note that a frame was taken from the camera, to be answered and stored."""
        with self._lock:
            self._under_way += 1

    def stored(self, frames: int, answered: int) -> None:
        """Note that frames were stored.

        Args:
            frames: how many.
            answered: how many of these the model answered; the others are no sign of life.
        """
        with self._lock:
            self._under_way -= frames
        if answered:
            self.listener(None)

    def waits(self, what: str) -> None:
        """Declare that frames which were taken have to wait, for a time that is bounded."""
        self.listener(what)

    def waits_for_more(self, what: str) -> None:
        """Declare that there is nothing to do, which counts only where this is so.

        A camera without frames must not speak for a model that hangs on the last one.
        """
        with self._lock:
            idle = self._under_way <= 0
        if idle:
            self.listener(what)
