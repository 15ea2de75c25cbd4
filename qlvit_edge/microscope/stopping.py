"""Ctrl-C, SIGTERM and a closed terminal as a request to stop, not as an accident."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from qlvit_edge.interruption import interrupt

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Without a handler it does nothing: one that comes too late is harmless.
_WAKING = signal.SIGURG


class Stopped(BaseException):
    """The user asked to stop while the program was waiting.

    Not an `Exception`: what is interrupted (an import, a driver) must not take it for its own.
    """


class StopRequest:
    """Takes SIGINT, SIGTERM and SIGHUP over while it is entered (in the main thread).

    The first signal sets `requested`; where the program only waits (`interruptible`) it
    also raises `Stopped` there, at once. A second SIGINT interrupts as usual; a second
    SIGTERM or SIGHUP changes nothing (a shell that is closed sends its own besides the
    terminal's). Signals that were ignored before stay so: `nohup`, or `&` in a script.

    What may be asked for besides is the end of one run, by another thread (`end_run`): the
    program goes on to the next one.

    Attributes:
        requested: the signal that came, None before.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self._run_ended = False
        self._woken = False
        self._interruptible = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        self._before[_WAKING] = signal.signal(_WAKING, self._on_wake)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def wanted(self) -> bool:
        """Whether the run is to end, by a signal or by `end_run`."""
        return self.requested is not None or self._run_ended

    def end_run(self) -> None:
        """Ask for the end of the run that goes on, from another thread."""
        self._run_ended = True
        self._poke()

    def next_run(self) -> None:
        """Take back what was asked of the run before; a signal holds."""
        self._run_ended = self._woken = False

    def wake(self) -> None:
        """Let the main thread stop waiting, from another thread that has something to say."""
        self._woken = True
        self._poke()

    def _poke(self) -> None:
        waiting = threading.main_thread().ident
        if waiting is not None:
            signal.pthread_kill(waiting, _WAKING)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal, or `wake`, end this block with `Stopped`, also one before it."""
        self._interruptible = True
        try:
            if self.wanted or self._woken:
                raise Stopped
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            return
        self.requested = signal.Signals(number)
        if signal.SIGINT in self._before:
            signal.signal(signal.SIGINT, self._before.pop(signal.SIGINT))
        if self._interruptible:
            interrupt(Stopped())

    def _on_wake(self, number: int, frame: FrameType | None) -> None:
        # One that was meant for the run before may come late.
        if self._interruptible and (self.wanted or self._woken):
            interrupt(Stopped())
