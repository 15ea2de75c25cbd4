"""A model kept ready in a process of its own, which runs it when told to.

Several of them make a fair comparison: each has its own runtime, threads and memory, a
kernel that aborts takes only its own process along, and rounds can be interleaved.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.inference import network
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.child import run_in_child
from qlvit_edge.inference.closing import Closing
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.inference.native import Kernels, Runtime


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


class Worker(Closing):
    """A child process with a model in it; a context manager that ends the process.

    Attributes:
        first_run: what the child said about the model.
    """

    def __init__(self, case: Case, allowance: Allowance | None = None) -> None:
        """Start the process, load the model and run it once.

        Args:
            case: what to run, and how.
            allowance: what the file may ask for; the default one where None.

        Raises:
            ModelFileError: the runtime refuses the model, crashes on it, or it takes too much.
            DeviceError: the runtime is not installed.
        """
        began = time.perf_counter()
        self._model = Interpreter(
            case.path,
            kernels=Kernels(case.kernels),
            runtime=case.runtime,
            threads=case.threads,
            subject=f"{case.path} on the {case.runtime} runtime's {case.kernels} kernels",
            isolated=True,
            allowance=allowance,
        )
        seconds = time.perf_counter() - began
        self._values = _input(self._model.input.shape, self._model.input.dtype)
        self.first_run = FirstRun(
            kernels_used=self._model.kernels_used,
            partitions=self._model.partitions,
            operators_left=self._model.operators_left,
            peak_bytes=self._model.peak_bytes(),
            seconds=seconds,
        )

    def run(self, times: int) -> list[float]:
        """Run the model once untimed, then ``times`` times; returns the milliseconds of each.

        The untimed inference brings the model back into the caches after another one ran.

        Raises:
            InferenceLostError: the runtime crashed or did not answer.
        """
        return self._model.remote.time_runs(self._values, times)

    def close(self) -> None:
        """End the process; allowed any number of times."""
        self._model.close()


def bare_peak(runtime: Runtime) -> int | None:
    """Return the peak memory in bytes of a process that only imports a runtime.

    Raises:
        DeviceError: the runtime is not installed.
    """
    return run_in_child(runtime, network.peak_of_bare, runtime)


def _input(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Random values of the type's range (floats: 0 to 1), the same every time."""
    generator = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return generator.random(shape).astype(dtype)
