"""What is asked for on the page: stop the run, begin another one, end the program."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Sample:
    """What the next run is of.

    Attributes:
        name: what the slide is called.
        operator: who runs it; None: not said.
    """

    name: str
    operator: str | None


class Orders:
    """Takes orders from any thread; one thread runs, and asks what is next.

    Each order names the run that it was given in: one that was meant for the run before (a second
    tap, a page left open) changes nothing.

    Attributes:
        stays: whether the program waits for orders when a run has ended.
        run: number of the run that goes on, or went on last, from 1.
    """

    def __init__(self, end_run: Callable[[], None] = lambda: None, *, stays: bool = False) -> None:
        """Begin with a run that goes on.

        Args:
            end_run: asks the run that goes on to end.
            stays: whether to wait for orders when a run has ended.
        """
        self.stays = stays
        self.run = 1
        self._end_run = end_run
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._goes_on = True
        self._next: Sample | None = None
        self._over = False

    def stop(self, run: int) -> bool:
        """Ask for the end of the run; whether that run goes on."""
        with self._lock:
            if run != self.run or not self._goes_on:
                return False
            self._end_run()
            return True

    def begin(self, run: int, sample: Sample) -> bool:
        """Ask for another run, which ends this one; whether it was the run that is meant."""
        with self._lock:
            if run != self.run or self._over:
                return False
            self._next = sample
            self._wake()
            return True

    def end(self, run: int) -> bool:
        """Ask for the end of the program; whether it was the run that is meant."""
        with self._lock:
            if run != self.run:
                return False
            self._over = True
            self._wake()
            return True

    def _wake(self) -> None:
        if self._goes_on:
            self._end_run()
        self._asked.set()

    def run_has_ended(self) -> None:
        """Take note that no run goes on: orders end none until `following` has returned one."""
        with self._lock:
            self._goes_on = False

    def leave(self) -> None:
        """Wait for no more orders: nobody can give any."""
        self.stays = False
        self._asked.set()

    def following(self, waits: Callable[[], None] = lambda: None) -> Sample | None:
        """Return what is to be run next, and wait for it; None: the program is to end.

        Args:
            waits: called again and again meanwhile.
        """
        while True:
            with self._lock:
                if self._over:
                    return None
                if self._next is not None:
                    found, self._next = self._next, None
                    self.run += 1
                    self._goes_on = True
                    return found
                if not self.stays:
                    return None
                self._asked.clear()
            while self.stays and not self._asked.wait(_LOOK_SECONDS):
                waits()
