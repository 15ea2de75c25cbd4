"""That no product can wrap on Cortex-A57, A72 and A73, proved from what tensors can hold.

XNNPACK's int8 BATCH_MATMUL on these processors adds two products in int16, where
(-128)(-128) + (-128)(-128) is one too many. So one operand, here the right one, must be -127 or
more whatever the input is. It is, by construction: probabilities are looked up in tables that
begin at 0, and products of what is never negative are not negative. Weights of -128 are refused by
the operations themselves. The directed case is `benchmarks/hazard.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph, Operation, Stored, Tensor
from qlvit_edge.converters.ops.activation import Exp, HardSwish, Logistic
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Minimum, Mul, Sub
from qlvit_edge.converters.ops.matmul import BatchMatMul

_POINTWISE = (Add, Exp, HardSwish, Logistic, Maximum, Minimum, Mul, Sub)


def require_safe_products(graph: Graph) -> int:
    """Refuse a graph of which an int8 product's right operand can hold -128.

    Returns:
        How many products there are.

    Raises:
        ConversionError: naming the product and the operand.
    """
    bounds = StoredBounds(graph)
    products = 0
    for operation in graph.operations:
        if not isinstance(operation, BatchMatMul) or operation.output.dtype != "int8":
            continue
        products += 1
        right = operation.inputs[1]
        if bounds.of(right)[0] == -128:
            raise operation.refuse(
                f"its right operand {right.name} can hold -128, and Cortex-A72 wraps there",
                "make it a table or a product that stays above",
            )
    return products


class StoredBounds:
    """Bounds of what every tensor stores, in XNNPACK's arithmetic, whatever the input is.

    What is a function of a single tensor, element by element, is tabulated for all that this one
    can hold; of everything else the ends of ranges are followed.
    """

    def __init__(self, graph: Graph) -> None:
        """Follow a graph from its inputs on."""
        self._ranges: dict[str, Stored] = {}
        self._tables: dict[str, tuple[str, NDArray[np.int8]]] = {}
        for tensor in graph.inputs:
            limits = np.iinfo(tensor.dtype)
            self._ranges[tensor.name] = int(limits.min), int(limits.max)
        for operation in graph.operations:
            table = self._tabulated(operation)
            if table is None:
                ranges = (self.of(tensor) for tensor in operation.inputs)
                self._ranges[operation.name] = operation.stored_range(*ranges)
            else:
                self._tables[operation.name] = table
                self._ranges[operation.name] = int(table[1].min()), int(table[1].max())

    def of(self, tensor: Tensor) -> Stored:
        """Return the smallest and the largest value of a tensor of the graph."""
        if tensor.data is not None:
            return int(tensor.data.min()), int(tensor.data.max())
        return self._ranges[tensor.name]

    def _tabulated(self, operation: Operation) -> tuple[str, NDArray[np.int8]] | None:
        """Return of which tensor an operation is a function, and all its values; None of none."""
        if not isinstance(operation, _POINTWISE) or operation.output.dtype != "int8":
            return None
        moving = [tensor for tensor in operation.inputs if tensor.data is None]
        constants = [tensor.data for tensor in operation.inputs if tensor.data is not None]
        if any(c.size != 1 for c in constants) or len({t.shape for t in moving}) != 1:
            return None
        tables = {tensor.name: self._tables.get(tensor.name) for tensor in moving}
        given = {name: self._every(name) if t is None else t for name, t in tables.items()}
        roots = {root for root, _ in given.values()}
        if len(roots) != 1:
            return None
        arrays = (
            given[tensor.name][1] if tensor.data is None else tensor.data.reshape(1)
            for tensor in operation.inputs
        )
        return roots.pop(), np.asarray(operation.xnnpack(*arrays), np.int8)

    def _every(self, name: str) -> tuple[str, NDArray[np.int8]]:
        low, high = self._ranges[name]
        return name, np.arange(low, high + 1).astype(np.int8)
