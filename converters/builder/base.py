"""What every builder is: a list of operations, and how a tensor gets its quantisation."""

from __future__ import annotations

from abc import ABC, abstractmethod

from qlvit_edge.converters.graph import DType, Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.convolution import Conv2D

Range = tuple[float, float]
Amounts = tuple[int, int]


class BaseBuilder(ABC):
    """Collects operations; see the package's text. Call :meth:`build` at the end."""

    def __init__(self, name: str) -> None:
        """Begin an empty graph called `name`."""
        self.name = name
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._operations: list[Operation] = []
        self._padded: dict[str, tuple[Tensor, tuple[Amounts, Amounts]]] = {}
        self._shares: dict[str, float] = {}

    @abstractmethod
    def _activation(
        self, name: str, fixed_range: Range | None, symmetric: bool = False
    ) -> Quantisation | None:
        """Quantisation of the activation called `name`."""

    @abstractmethod
    def _constant_like(self, name: str, value: float) -> Tensor:
        """A real scalar as a (1, 1, 1, 1) constant."""

    def output(self, x: Tensor) -> None:
        """Make `x` an output of the graph."""
        self._outputs.append(x)

    def build(self) -> Graph:
        """Return the finished graph, without operations that lead to no output."""
        needed = {tensor.name for tensor in self._outputs}
        kept: list[Operation] = []
        for operation in reversed(self._operations):
            if operation.name in needed:
                kept.append(operation)
                needed.update(tensor.name for tensor in operation.inputs)
        return Graph(self.name, tuple(self._inputs), tuple(self._outputs), tuple(reversed(kept)))

    # -- helpers --------------------------------------------------------------------------

    def _stand_for(self, x: Tensor, share: float) -> Tensor:
        """Have `x` stand for `share` times what it holds; convolutions multiply for it."""
        self._shares[x.name] = share
        return x

    def _emit(self, operation: Operation) -> Tensor:
        if not isinstance(operation, Conv2D):
            for tensor in operation.inputs:
                if tensor.name in self._shares:
                    raise operation.refuse(
                        f"{tensor.name} holds a multiple of what it stands for", "convolve it first"
                    )
        self._operations.append(operation)
        return operation.output

    def _input(self, name: str, shape: tuple[int, ...], dtype: DType) -> Tensor:
        tensor = Tensor(name, shape, dtype)
        self._inputs.append(tensor)
        return tensor
