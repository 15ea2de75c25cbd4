"""A loaded model in a process of its own, in place of a `LocalNetwork`.

A model that crashes, hangs or takes too much ends that process only. It can be started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from qlvit_edge.errors import DeviceError, InferenceLostError, ModelFileError
from qlvit_edge.inference import network
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.child import Child, ChildLostError
from qlvit_edge.inference.network import Array, PartFacts, Settings
from qlvit_edge.memory import peak_memory

P = ParamSpec("P")
T = TypeVar("T")

_WIDER = "give another model, or let it have more (see `docs/limits.md`)"
_CLOSED = "it is closed"
_QUESTION_SECONDS = 10.0


class _KilledError(ModelFileError):
    """The process was killed by somebody while it began."""


class RemoteNetwork:
    """A model in a child process; has what `LocalNetwork` has. Its owner holds a lock.

    Attributes:
        facts: of each part.
        bare_bytes: peak memory of the process before the model was loaded; None if hidden.
        first_seconds: to start the process, load the model and run it once.
    """

    facts: tuple[PartFacts, ...]
    bare_bytes: int | None
    first_seconds: float

    def __init__(self, settings: Settings, subject: object, allowance: Allowance) -> None:
        """Start a process, load the model and run it once on zeros.

        Args:
            settings: what to load, and how.
            subject: what errors call the model.
            allowance: limits of the process.

        Raises:
            ModelFileError: the runtime refuses the model, crashes on it or takes too much.
            DeviceError: the runtime or a delegate is missing or does not start.
        """
        self._settings, self._subject, self._allowance = settings, subject, allowance
        size = sum(len(part.content) for part in settings.parts)
        self._memory = allowance.memory(size, settings.threads)
        self._lost: str | None = None
        self._child = self._start()

    @property
    def pid(self) -> int:
        """Number of the process; another one after `restart`."""
        return self._child.pid

    def run(self, values: Array) -> tuple[Array, ...]:
        """Run once on values of the input's shape and type; returns the outputs.

        Raises:
            InferenceLostError: the process crashed, took too much or did not answer in time.
            DeviceError: the runtime failed.
        """
        return self._ask(self._seconds, network.run, values)

    def borders(self) -> dict[str, Array]:
        """Return every tensor that went into or came out of a part in the last run, by name."""
        return self._ask(_QUESTION_SECONDS, network.borders)

    def time_runs(self, values: Array, times: int) -> list[float]:
        """Run once untimed, then ``times`` times; returns the milliseconds of each, timed there.

        Raises:
            InferenceLostError: see `run`.
        """
        return self._ask((1 + times) * self._seconds, network.time_runs, values, times)

    def peak_bytes(self) -> int | None:
        """Return the most memory that the process ever held; None if the system hides it."""
        return self._ask(_QUESTION_SECONDS, peak_memory)

    def restart(self) -> None:
        """End the process and start another with the same model.

        Raises:
            ModelFileError: see `__init__`.
            DeviceError: likewise.
        """
        self.close()
        self._lost = None
        self._child = self._start()

    def close(self) -> None:
        """End the process; allowed any number of times."""
        self._child.close()
        self._lost = _CLOSED

    def _start(self) -> Child:
        """Start a process; once more where somebody killed it while it began."""
        try:
            return self._started()
        except _KilledError:
            return self._started()

    def _started(self) -> Child:
        began = time.perf_counter()
        try:
            child = Child(self._memory)
        except OSError as error:
            reason = error.strerror or str(error)
            raise DeviceError(
                "model's process", f"it cannot be started ({reason})", "end other programs"
            ) from error
        try:
            self.facts, self.bare_bytes = child.call(
                self._allowance.load_seconds, network.load, self._settings
            )
            started = time.perf_counter()
            left = self._allowance.load_seconds - (started - began)
            # A slow start leaves it no less than any other inference has.
            least = min(self._allowance.load_seconds, self._allowance.inference_seconds)
            child.call(max(left, least), network.first_run)
        except ChildLostError as error:
            child.close()  # one that ran out of memory is still there, and holds it
            kind = _KilledError if error.killed else ModelFileError
            raise kind(self._subject, error.finding, _WIDER) from None
        except BaseException:
            child.close()
            raise
        self.first_seconds = time.perf_counter() - began
        self._seconds = self._allowance.inference(time.perf_counter() - started)
        return child

    def _ask(
        self, seconds: float, function: Callable[P, T], /, *arguments: P.args, **options: P.kwargs
    ) -> T:
        if self._lost is None and not self._child.alive:
            # A process forked off this one, or Ctrl-C in the middle of an answer.
            self._child.close()
            self._child = self._start()
        if self._lost is not None:
            remedy = "restart it, or open it again" if self._lost == _CLOSED else _WIDER
            raise InferenceLostError(self._subject, self._lost, remedy)
        try:
            return self._child.call(seconds, function, *arguments, **options)
        except ChildLostError as error:
            self._lost = error.finding
            self._child.close()
            raise InferenceLostError(self._subject, error.finding, _WIDER) from None
