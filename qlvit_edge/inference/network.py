"""A loaded model as the runtime has it: one file, or the segments of a chain after one another.

This half runs in this process or, through `qlvit_edge.inference.isolation`, in one of its own.
It imports neither our reader nor what explains a model: a child process holds it twice otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import ModelFileError, QLViTEdgeError
from qlvit_edge.inference.delegates import Delegate
from qlvit_edge.inference.native import (
    Kernels,
    Runtime,
    load_native,
    load_runtime,
    plan,
    run_native,
)
from qlvit_edge.inference.tensor_info import TensorInfo
from qlvit_edge.memory import peak_memory

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """One file that the runtime loads.

    Attributes:
        content: the .tflite file, which our reader has checked.
        subject: what errors call it.
        delegate: library that takes over what it can.
    """

    content: bytes
    subject: str
    delegate: Delegate | None = None


@dataclass(frozen=True)
class PartFacts:
    """What the runtime says about a loaded part.

    Attributes:
        inputs: its inputs.
        outputs: its outputs.
        delegated: numbers of the operators in each part of the graph that a delegate took.
        operators_left: number of operators outside those parts.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    delegated: list[list[int]]
    operators_left: int


@dataclass(frozen=True)
class Settings:
    """How parts are loaded.

    Attributes:
        parts: in the order they run; at least one.
        kernels: which implementation of the operators to use.
        runtime: which TFLite runtime to use.
        threads: number of threads, at least 1.
        ends: names of the input and of the outputs of several parts, whose tensors are handed on
            by name. None: a single part, whose only input and outputs need no names.
        keep_all_tensors: keep intermediate results.
    """

    parts: tuple[Part, ...]
    kernels: Kernels
    runtime: Runtime
    threads: int
    ends: tuple[str, tuple[str, ...]] | None = None
    keep_all_tensors: bool = False


class LocalNetwork:
    """A model in this process. Not safe with threads: its owner holds a lock.

    Attributes:
        facts: of each part.
    """

    def __init__(self, settings: Settings) -> None:
        """Load the parts.

        Raises:
            ModelFileError: the runtime refuses a part.
            DeviceError: the runtime or a delegate is missing or does not start.
        """
        self._ends = settings.ends
        self._parts = [_LoadedPart(part, settings) for part in settings.parts]
        self.facts = tuple(part.facts for part in self._parts)
        self._kept: dict[str, Array] = {}

    def run(self, values: Array) -> tuple[Array, ...]:
        """Run once on values of the input's shape and type; returns the outputs, copies.

        Raises:
            DeviceError: the runtime failed.
        """
        if self._ends is None:
            return self._parts[0].run_only(values)
        first, given = self._ends
        kept = {first: values}
        for part in self._parts:
            kept.update(part.run_named(kept))
        self._kept = kept
        return tuple(kept[name] for name in given)

    def blank(self) -> Array:
        """Return an input of zeros."""
        first = None if self._ends is None else self._ends[0]
        taken = self.facts[0].inputs
        (info,) = [one for one in taken if first in (None, one.name)][:1]
        return np.zeros(info.shape, info.dtype)

    def borders(self) -> dict[str, Array]:
        """Return every tensor that went into or came out of a part in the last run, by name."""
        return dict(self._kept)

    def tensors(self) -> dict[str, Array]:
        """Return every tensor of the first part after the last run, by name; copies."""
        return self._parts[0].tensors()


class _LoadedPart:
    def __init__(self, part: Part, settings: Settings) -> None:
        native = self._native = load_native(
            part.content,
            part.subject,
            settings.kernels,
            settings.runtime,
            settings.threads,
            keep_all_tensors=settings.keep_all_tensors,
            delegate=part.delegate,
        )
        self._subject, self._delegate = part.subject, part.delegate
        self._names: list[tuple[str, int]] = []
        with _foreign_errors(part.subject):
            inputs, outputs = native.get_input_details(), native.get_output_details()
            self._inputs = [(str(entry["name"]), int(entry["index"])) for entry in inputs]
            self._outputs = [(str(entry["name"]), int(entry["index"])) for entry in outputs]
            infos = tuple(map(_info, inputs)), tuple(map(_info, outputs))
            self.facts = PartFacts(*infos, *plan(native))

    def run_only(self, values: Array) -> tuple[Array, ...]:
        """Run a part of one input; returns its outputs in the file's order."""
        with _foreign_errors(self._subject):
            self._native.set_tensor(self._inputs[0][1], values)
            run_native(self._native, self._subject, self._delegate)
            get = self._native.get_tensor
            return tuple(np.asarray(get(index)) for _, index in self._outputs)

    def run_named(self, known: dict[str, Array]) -> dict[str, Array]:
        """Run the part on what is known by name; returns its outputs by name."""
        with _foreign_errors(self._subject):
            for name, index in self._inputs:
                self._native.set_tensor(index, known[name])
            run_native(self._native, self._subject, self._delegate)
            get = self._native.get_tensor
            return {name: np.asarray(get(index)) for name, index in self._outputs}

    def tensors(self) -> dict[str, Array]:
        if not self._names:  # listing them takes as long as a small network
            details = self._native.get_tensor_details()
            self._names = [(str(entry["name"]), int(entry["index"])) for entry in details]
        found: dict[str, Array] = {}
        for name, index in self._names:
            try:
                found[name] = np.asarray(self._native.get_tensor(index))
            except ValueError:  # scratch space of a kernel has no value to give
                continue
        return found


@contextmanager
def _foreign_errors(subject: str) -> Iterator[None]:
    """Turn what the runtime's own Python raises on odd models into our error.

    Names that are no UTF-8, shapes that are others when it comes to it, outputs without a value.

    Raises:
        ModelFileError: the runtime cannot handle the model.
    """
    try:
        yield
    except (QLViTEdgeError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise ModelFileError(
            subject,
            f"the runtime cannot handle it ({type(error).__name__}: {reason})",
            "convert the model again",
        ) from error


def _info(entry: dict[str, Any]) -> TensorInfo:
    scale, zero_point = entry["quantization"]
    return TensorInfo(
        name=str(entry["name"]),
        shape=tuple(int(side) for side in entry["shape"]),
        dtype=np.dtype(entry["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


class _Held:
    """What a child process holds between two calls."""

    network: LocalNetwork


def peak_of_bare(runtime: Runtime) -> int | None:
    """In a child: import a runtime; returns the peak memory, None if the system hides it."""
    load_runtime(runtime)
    return peak_memory()


def load(settings: Settings) -> tuple[tuple[PartFacts, ...], int | None]:
    """In a child: load a model and keep it; returns its facts and the peak memory before it."""
    before = peak_of_bare(settings.runtime)
    _Held.network = LocalNetwork(settings)
    return _Held.network.facts, before


def first_run() -> None:
    """In a child: run the model that `load` kept on zeros."""
    _Held.network.run(_Held.network.blank())


def run(values: Array) -> tuple[Array, ...]:
    """In a child: run the model that `load` kept."""
    return _Held.network.run(values)


def borders() -> dict[str, Array]:
    """In a child: see `LocalNetwork.borders`."""
    return _Held.network.borders()


def time_runs(values: Array, times: int) -> list[float]:
    """In a child: run once untimed, then ``times`` times; returns the milliseconds of each."""
    network = _Held.network
    network.run(values)
    found = []
    for _ in range(times):
        began = time.perf_counter()
        network.run(values)
        found.append(1e3 * (time.perf_counter() - began))
    return found
