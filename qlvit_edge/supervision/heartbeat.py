"""Signs of life of a run, passed on to the service manager: no timer of its own.

Whoever gives a sign (see `qlvit_edge.microscope.life`) has the manager told, in the same thread.
When none comes, nothing is told, and the manager ends the process and starts it again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from qlvit_edge.supervision.notifier import Notifier
from qlvit_edge.text import counted

STATUS_SECONDS = 5.0
"""How often the manager is told at most, unless it waits for less."""

NEWS_SECONDS = 1.0
"""The same where it does something else than before."""

SIGNS_PER_WATCH = 4
"""How often it is told, at least, within the time that it waits."""


class Progress(Protocol):
    """A run whose progress can be said.

    Attributes:
        frames: stored so far.
        counts: cells stored so far, by label.
    """

    frames: int
    counts: Counter[str]


class Heartbeat:
    """Tells the manager that the program is ready, and from then on that it is alive."""

    def __init__(self, notifier: Notifier, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin before the first sign.

        Args:
            notifier: who tells the manager.
            clock: seconds, by a clock that nobody sets.
        """
        self._notifier, self._clock = notifier, clock
        watched = notifier.watchdog_seconds
        self._every = min(STATUS_SECONDS, (watched or 1e9) / SIGNS_PER_WATCH)
        self._lock = threading.Lock()
        self._is_ready = False
        self._said_at = 0.0
        self._doing = ""
        self._frames_then = 0
        self._run: Progress | None = None

    def follow(self, run: Progress) -> None:
        """Say from now on how this run goes on."""
        with self._lock:
            self._run, self._frames_then = run, run.frames

    def sign(self, waits_for: str | None) -> None:
        """Take a sign of life; any thread may give it.

        Args:
            waits_for: what the run waits for; None: frames were stored.
        """
        with self._lock:
            now, frames = self._clock(), 0 if self._run is None else self._run.frames
            since, more = now - self._said_at, frames - self._frames_then
            # A camera that is waited for between any two frames is no news.
            doing = "running" if waits_for is None or more else waits_for
            if not self._is_ready:
                self._notifier.ready(self._status(doing))
                self._is_ready = True
            elif since >= self._every or (doing != self._doing and since >= NEWS_SECONDS):
                rate = f", {more / since:.1f} frames/s" if more else ""
                self._notifier.alive(f"{self._status(doing)}{rate}")
            else:
                return
            self._said_at, self._doing, self._frames_then = now, doing, frames

    def _status(self, doing: str) -> str:
        """Return one line: what is done, and how far it has come."""
        if self._run is None:
            return doing
        cells = self._run.counts.total()
        return f"{doing}; {counted(self._run.frames, 'frame')}, {counted(cells, 'cell')}"
