"""A model kept ready in a process of its own, which runs it when told to.

Several of them make a fair comparison: each has its own runtime, threads and memory, a
kernel that aborts takes only its own process along, and rounds can be interleaved.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import ModelFileError, QLViTEdgeError
from qlvit_edge.inference.child import ONE_THREAD, cause_of, run_in_child
from qlvit_edge.inference.interpreter import Interpreter, Kernels, Runtime, load_runtime
from qlvit_edge.memory import peak_memory

TIMEOUT = 600.0
"""Seconds after which a worker that does not answer is ended."""

_WORKER = [
    sys.executable,
    "-P",
    "-c",
    "from qlvit_edge.inference.worker import _work; _work()",
]


@dataclass(frozen=True)
class Case:
    """One way to run one model.

    Attributes:
        model: name for people.
        path: the .tflite file.
        threads: number of threads, at least 1.
        runtime: `litert` or `tflite-runtime`.
        kernels: `auto`, `builtin` or `reference`.
    """

    model: str
    path: Path
    threads: int = 1
    runtime: Runtime = "litert"
    kernels: str = "auto"


@dataclass(frozen=True)
class FirstRun:
    """What a worker says when its model has run once.

    Attributes:
        kernels_used: what really runs, in words.
        partitions: parts of the graph that XNNPACK took over.
        operators_left: operators outside them.
        peak_bytes: the process's peak memory after the first inference; None if hidden.
        seconds: from the start of the process to the end of the first inference.
    """

    kernels_used: str
    partitions: int
    operators_left: int
    peak_bytes: int | None
    seconds: float


class Worker:
    """A child process with a model in it; a context manager that ends the process.

    Attributes:
        first_run: what the child said about the model.
    """

    def __init__(self, case: Case) -> None:
        """Start the process, load the model and run it once.

        Raises:
            ModelFileError: the runtime refuses the model or crashes on it.
            DeviceError: the runtime is not installed.
        """
        self._case = case
        # A file, not a pipe: nobody reads along, and a full pipe would stop the child.
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115
        began = time.perf_counter()
        self._process = subprocess.Popen(
            _WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env={**os.environ, **ONE_THREAD},
        )
        try:
            self._send(case)
            said: FirstRun = self._receive()
            self.first_run = replace(said, seconds=time.perf_counter() - began)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()

    def run(self, times: int) -> list[float]:
        """Run the model once untimed, then ``times`` times; returns the milliseconds of each.

        The untimed inference brings the model back into the caches after another one ran.

        Raises:
            ModelFileError: the runtime crashed.
        """
        self._send(times)
        answer: list[float] = self._receive()
        return answer

    def close(self) -> None:
        """End the process; allowed any number of times."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._noise):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash_error() from None

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], TIMEOUT)
        if not ready:
            raise ModelFileError(
                self._case.path, f"no answer within {TIMEOUT:.0f} s", "use other kernels"
            )
        try:
            failed, value = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise self._crash_error() from None
        if failed:
            kind, text = value
            error = kind.__new__(kind)
            Exception.__init__(error, text)
            raise error
        return value

    def _crash_error(self) -> ModelFileError:
        code = self._process.wait()
        self._noise.seek(0)
        cause = cause_of(code, self._noise.read())
        kernels = f"the {self._case.runtime} runtime's {self._case.kernels} kernels"
        return ModelFileError(
            self._case.path, f"{kernels} crashed on it ({cause})", "use other kernels"
        )


def bare_peak(runtime: Runtime) -> int | None:
    """Return the peak memory in bytes of a process that only imports a runtime.

    Raises:
        DeviceError: the runtime is not installed.
    """
    return run_in_child(runtime, _bare_peak, runtime)


def _bare_peak(runtime: Runtime) -> int | None:
    load_runtime(runtime)
    return peak_memory()


def _work() -> None:
    """The child's side."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native code that prints must not end up in the answer

    def say(failed: bool, value: object) -> None:
        pickle.dump((failed, value), answer)
        answer.flush()

    messages = sys.stdin.buffer
    try:
        interpreter, values, first_run = _load(pickle.load(messages))
        say(False, first_run)
        while True:
            times = pickle.load(messages)
            interpreter.invoke(values)
            say(False, _time_runs(interpreter, values, times))
    except EOFError:
        return
    except QLViTEdgeError as error:
        # Their constructor takes three parts of which only the text is kept.
        say(True, (type(error), str(error)))


def _load(case: Case) -> tuple[Interpreter, NDArray[Any], FirstRun]:
    """In the child: load a model and run it once; only the parent knows when this began."""
    began = time.perf_counter()
    interpreter = Interpreter(
        case.path,
        kernels=Kernels(case.kernels),
        runtime=case.runtime,
        threads=case.threads,
    )
    values = _input(interpreter.input.shape, interpreter.input.dtype)
    interpreter.invoke(values)
    first_run = FirstRun(
        kernels_used=interpreter.kernels_used,
        partitions=interpreter.partitions,
        operators_left=interpreter.operators_left,
        peak_bytes=peak_memory(),
        seconds=time.perf_counter() - began,
    )
    return interpreter, values, first_run


def _input(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Random values of the type's range (floats: 0 to 1), the same every time."""
    generator = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return generator.random(shape).astype(dtype)


def _time_runs(interpreter: Interpreter, values: NDArray[Any], times: int) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        interpreter.invoke(values)
        found.append(1e3 * (time.perf_counter() - began))
    return found
