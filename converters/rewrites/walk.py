"""Walks through a graph and writes another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qlvit_edge.converters.graph import Graph, Operation, Tensor


class Rewriting:
    """The operations written so far.

    Attributes:
        made: by name, what makes a tensor.
    """

    def __init__(self) -> None:
        """Begin without operations."""
        self.made: dict[str, Operation] = {}

    def emit(self, operation: Operation) -> Tensor:
        """Append an operation and return its output."""
        self.made[operation.name] = operation
        return operation.output


Rule = Callable[[Operation, Rewriting], Tensor]
"""Writes an operation, or others in its place, and returns the tensor of its name."""


def rewritten(graph: Graph, rule: Rule) -> Graph:
    """Apply a rule to every operation, in the graph's order.

    Args:
        graph: any graph.
        rule: is given each operation with its inputs rewritten already.
    """
    writing = Rewriting()
    now: dict[str, Tensor] = {tensor.name: tensor for tensor in graph.inputs}
    for operation in graph.operations:
        inputs = tuple(now.get(tensor.name, tensor) for tensor in operation.inputs)
        if any(new is not old for new, old in zip(inputs, operation.inputs, strict=True)):
            operation = replace(operation, inputs=inputs)
        now[operation.name] = rule(operation, writing)
    outputs = tuple(now[tensor.name] for tensor in graph.outputs)
    return Graph(graph.name, graph.inputs, outputs, tuple(writing.made.values()))


def without_unused(graph: Graph) -> Graph:
    """Leave out the operations that lead to no output."""
    needed = {tensor.name for tensor in graph.outputs}
    kept: list[Operation] = []
    for operation in reversed(graph.operations):
        if operation.name in needed:
            kept.append(operation)
            needed.update(tensor.name for tensor in operation.inputs)
    return Graph(graph.name, graph.inputs, graph.outputs, tuple(reversed(kept)))
