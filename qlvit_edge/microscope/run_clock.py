"""The time of a run: of day when it began, and from then on by a clock that nobody sets.

A clock that is set, by hand or by the network, would otherwise turn a run's frames around and
make it last an hour more or less than it did.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TOLD_SECONDS = 2.0
"""A system's clock that has moved by less is not worth a word."""


class RunClock:
    """Seconds since 1970 (UTC) that always go on, one a second."""

    def __init__(self) -> None:
        """Begin with what the system's clock says now."""
        self._began = time.time() - time.monotonic()
        self._moved = 0.0

    def utc(self, monotonic: float | None = None) -> float:
        """Return the time.

        Args:
            monotonic: when, by `time.monotonic`; None: now.
        """
        return self._began + (time.monotonic() if monotonic is None else monotonic)

    def check(self, note: Callable[[str], None]) -> None:
        """Say, once each time, that the system's clock was set."""
        moved = time.time() - self.utc()
        if abs(moved - self._moved) >= TOLD_SECONDS:
            note(
                f"the system's clock was set {'forward' if moved > self._moved else 'back'} by "
                f"{abs(moved - self._moved):,.0f} s (or the machine slept); times in the results "
                "go on as they began"
            )
            self._moved = moved
