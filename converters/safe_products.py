"""That no product can wrap on Cortex-A57, A72 and A73, proved from what tensors can hold.

XNNPACK's int8 BATCH_MATMUL on these processors adds two products in int16, where
(-128)(-128) + (-128)(-128) is one too many. So one operand, here the right one, must be -127 or
more whatever the input is. It is, by construction: probabilities are looked up in tables that
begin at 0, and products of what is never negative are not negative. Weights of -128 are refused by
the operations themselves. The directed case is `benchmarks/hazard.py`.
"""

from __future__ import annotations

import numpy as np

from qlvit_edge.converters.graph import Graph, Stored, Tensor
from qlvit_edge.converters.ops.matmul import BatchMatMul


def stored_ranges(graph: Graph) -> dict[str, Stored]:
    """Bound what every tensor stores, by name, from the inputs on (interval arithmetic)."""
    ranges: dict[str, Stored] = {}

    def known(tensor: Tensor) -> Stored:
        if tensor.data is not None:
            return int(tensor.data.min()), int(tensor.data.max())
        return ranges[tensor.name]

    for tensor in graph.inputs:
        limits = np.iinfo(tensor.dtype)
        ranges[tensor.name] = int(limits.min), int(limits.max)
    for operation in graph.operations:
        ranges[operation.name] = operation.stored_range(*(known(t) for t in operation.inputs))
    return ranges


def require_safe_products(graph: Graph) -> int:
    """Refuse a graph of which an int8 product's right operand can hold -128.

    Returns:
        How many products there are.

    Raises:
        ConversionError: naming the product and the operand.
    """
    ranges = stored_ranges(graph)
    products = 0
    for operation in graph.operations:
        if not isinstance(operation, BatchMatMul) or operation.output.dtype != "int8":
            continue
        products += 1
        right = operation.inputs[1]
        lowest = ranges[right.name][0] if right.data is None else int(right.data.min())
        if lowest == -128:
            raise operation.refuse(
                f"its right operand {right.name} can hold -128, and Cortex-A72 wraps there",
                "make it a table or a product that stays above",
            )
    return products
