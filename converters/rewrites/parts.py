"""Some operations of a graph as a graph of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from qlvit_edge.converters.graph import Graph, Operation, Tensor


def read_from_outside(operations: Iterable[Operation]) -> tuple[Tensor, ...]:
    """Return the activations that operations read and do not make, in order of first reading."""
    operations = list(operations)
    made = {operation.name for operation in operations}
    read: dict[str, Tensor] = {
        tensor.name: tensor
        for operation in operations
        for tensor in operation.inputs
        if tensor.data is None and tensor.name not in made
    }
    return tuple(read.values())


def part(name: str, operations: Sequence[Operation], wanted: Collection[str]) -> Graph:
    """Cut operations out of a graph; tensors keep their names.

    Args:
        name: of the part.
        operations: in the graph's order. What they read and others make are the inputs.
        wanted: names of tensors that others read; those the operations make are the outputs.
    """
    outputs = tuple(operation.output for operation in operations if operation.name in wanted)
    return Graph(name, read_from_outside(operations), outputs, tuple(operations))
