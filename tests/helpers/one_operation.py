"""Graphs of a single operation, and running them on TFLite's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import ArrayLike

from qlvit_edge.converters.graph import Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.reference_form import needs_reference_form, reference_form
from qlvit_edge.modelfile.reader import read_document


@dataclass(frozen=True)
class Case:
    """An operation and a batch of inputs by tensor name, each (B, …)."""

    operation: Operation
    inputs: dict[str, np.ndarray]

    @property
    def kind(self) -> str:
        """The name of the operation's class."""
        return type(self.operation).__name__


def quantised(scale: float, zero_point: int) -> Quantisation:
    """Return the quantisation of an activation."""
    return Quantisation((scale,), zero_point)


def constant(name: str, values: ArrayLike, quantisation: Quantisation | None = None) -> Tensor:
    """Return a constant of the type that `values` have."""
    data = np.asarray(values)
    return Tensor(name, data.shape, str(data.dtype), quantisation, data)  # type: ignore[arg-type]


def activation(name: str, shape: Sequence[int], scale: float = 0.05, zero_point: int = 3) -> Tensor:
    """Return an int8 input."""
    return Tensor(name, tuple(shape), "int8", quantised(scale, zero_point))


def int32_tensor(name: str, shape: Sequence[int]) -> Tensor:
    """Return an input of plain integers."""
    return Tensor(name, tuple(shape), "int32")


def run_kernels(content: bytes, inputs: dict[str, np.ndarray], kernels: str) -> np.ndarray:
    """Run a batch image by image; `kernels` is a name of litert's OpResolverType."""
    if kernels == "BUILTIN_REF" and needs_reference_form(read_document(content)):
        content = reference_form(content)
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType[kernels], num_threads=1
    )
    interpreter.allocate_tensors()
    outputs = []
    for image in range(len(next(iter(inputs.values())))):
        for detail in interpreter.get_input_details():
            given = inputs[detail["name"]][image]
            interpreter.set_tensor(detail["index"], given.reshape(detail["shape"]))
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        outputs.append(found[None] if found.ndim == 1 else found)
    return np.concatenate(outputs)


@dataclass(frozen=True)
class Outcomes:
    """What an operation gives: NumPy in an arithmetic, and the kernels that compute it.

    Attributes:
        reference: the reference arithmetic.
        on_reference: the reference kernels.
        xnnpack: XNNPACK's arithmetic.
        on_default: the default kernels.
    """

    reference: np.ndarray
    on_reference: np.ndarray
    xnnpack: np.ndarray
    on_default: np.ndarray


def outcomes(case: Case) -> Outcomes:
    """Run a case in both arithmetics and on both kernel sets."""
    activations = {t.name: t for t in case.operation.inputs if t.data is None}
    inputs = tuple(activations.values())
    graph = Graph("one", inputs, (case.operation.output,), (case.operation,))
    content = write_tflite(graph)
    reference, xnnpack = (
        run_reference(graph, case.inputs, arithmetic=arithmetic)[case.operation.name]
        for arithmetic in ("reference", "xnnpack")
    )
    return Outcomes(
        reference,
        run_kernels(content, case.inputs, "BUILTIN_REF"),
        xnnpack,
        run_kernels(content, case.inputs, "AUTO"),
    )
