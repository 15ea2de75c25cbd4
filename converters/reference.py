"""Executes an integer graph in NumPy: what every kernel is measured against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qlvit_edge.converters.graph import Array, Graph
from qlvit_edge.errors import ConversionError


def run_reference(
    graph: Graph, inputs: Mapping[str, Array], *, keep_all: bool = False
) -> dict[str, Array]:
    """Run a batch of images through the graph.

    Args:
        graph: an integer graph; its activations have a leading dimension of 1.
        inputs: by tensor name, each (B, …) of the input tensor's type.
        keep_all: return every activation instead of the outputs only.

    Returns:
        Arrays (B, …) by tensor name.

    Raises:
        ConversionError: for a float graph or an input of the wrong type or shape.
    """
    values: dict[str, Array] = {}
    for tensor in graph.inputs:
        given = np.ascontiguousarray(inputs[tensor.name])
        if given.dtype != np.dtype(tensor.dtype) or given.shape[1:] != tensor.shape[1:]:
            raise ConversionError(
                tensor.name,
                f"input is {given.shape} {given.dtype}",
                f"give (B, {', '.join(map(str, tensor.shape[1:]))}) {tensor.dtype}",
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
        values[operation.name] = operation.reference(*arrays)
        if not keep_all:
            for tensor in operation.inputs:
                if last_use[tensor.name] == index and tensor.name not in wanted:
                    values.pop(tensor.name, None)
    return values if keep_all else {name: values[name] for name in wanted}
