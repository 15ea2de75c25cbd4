"""Collects the operations of a graph."""

from __future__ import annotations

from qlvit_edge.converters.graph import Graph, Operation, Tensor
from qlvit_edge.converters.idioms.numerics import Numerics
from qlvit_edge.converters.ops.convolution import Conv2D, DynamicDepthwiseConv2D
from qlvit_edge.converters.rewrites.walk import without_unused


class Writer:
    """A graph being written; see the package's text.

    Attributes:
        name: of the graph.
        numerics: how its tensors hold real values.
        inputs: of the graph so far.
    """

    def __init__(self, name: str, numerics: Numerics) -> None:
        """Begin an empty graph."""
        self.name = name
        self.numerics = numerics
        self.inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._operations: list[Operation] = []

    def emit(self, operation: Operation) -> Tensor:
        """Append an operation and return its output.

        Raises:
            ConversionError: it reads a multiple of a quantity, which only convolutions undo.
        """
        if not isinstance(operation, Conv2D | DynamicDepthwiseConv2D):
            for tensor in operation.inputs:
                if tensor.multiple != 1:
                    raise operation.refuse(
                        f"{tensor.name} holds a multiple of what it stands for", "convolve it first"
                    )
        self._operations.append(operation)
        return operation.output

    def input(self, x: Tensor) -> Tensor:
        """Make `x` an input of the graph, and return it."""
        self.inputs.append(x)
        return x

    def output(self, x: Tensor) -> None:
        """Make `x` an output of the graph."""
        self._outputs.append(x)

    def build(self) -> Graph:
        """Return the finished graph: rewritten, without operations that lead to no output."""
        graph = Graph(self.name, tuple(self.inputs), tuple(self._outputs), tuple(self._operations))
        for rewrite in self.numerics.rewrites:
            graph = rewrite(graph)
        return without_unused(graph)
