"""Executes an integer graph in NumPy: what every kernel is measured against.

There are two arithmetics: that of the reference kernels, which are the same on every machine but
run on none by default, and that of XNNPACK, TFLite's default kernels. They differ in how
an accumulator is rounded to int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from qlvit_edge.converters.graph import Array, Graph, Operation
from qlvit_edge.errors import ConversionError

Arithmetic = Literal["reference", "xnnpack", "xnnpack-arm64"]


def run_reference(
    graph: Graph,
    inputs: Mapping[str, Array],
    *,
    arithmetic: Arithmetic = "reference",
    keep_all: bool = False,
) -> dict[str, Array]:
    """Run a batch of images through the graph.

    Args:
        graph: an integer graph; its activations have a leading dimension of 1.
        inputs: by tensor name, each (B, …) of the input tensor's type.
        arithmetic: that of the reference kernels, or of XNNPACK: as on x86-64, which a converted
            graph cannot tell from arm64, or expressly as on arm64.
        keep_all: return every activation instead of the outputs only.

    Returns:
        Arrays (B, …) by tensor name.

    Raises:
        ConversionError: for a float graph or an input of the wrong type or shape.
    """
    values: dict[str, Array] = {}
    for tensor in graph.inputs:
        given = np.ascontiguousarray(inputs[tensor.name])
        # Of a vector, the one tensor without a dimension for the batch, there are (B, C).
        shape = tensor.shape[1:] if len(tensor.shape) > 1 else tensor.shape
        if given.dtype != np.dtype(tensor.dtype) or given.shape[1:] != shape:
            raise ConversionError(
                tensor.name,
                f"input is {given.shape} {given.dtype}",
                f"give (B, {', '.join(map(str, shape))}) {tensor.dtype}",
            )
        values[tensor.name] = given
    last_use = {
        tensor.name: index
        for index, operation in enumerate(graph.operations)
        for tensor in operation.inputs
    }
    wanted = {tensor.name for tensor in graph.outputs}
    for index, operation in enumerate(graph.operations):
        if operation.output.dtype == "float32":
            raise operation.refuse("a float operation", "the reference is for integer graphs")
        arrays = [t.data if t.data is not None else values[t.name] for t in operation.inputs]
        values[operation.name] = _compute(operation, arrays, arithmetic)
        if not keep_all:
            for tensor in operation.inputs:
                if last_use[tensor.name] == index and tensor.name not in wanted:
                    values.pop(tensor.name, None)
    return values if keep_all else {name: values[name] for name in wanted}


def _compute(operation: Operation, arrays: list[Array], arithmetic: Arithmetic) -> Array:
    if arithmetic == "reference":
        return operation.reference(*arrays)
    return operation.xnnpack(*arrays, form="x86" if arithmetic == "xnnpack" else "arm64")
