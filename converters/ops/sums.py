"""What inner products can come to, and whether the kernels' 32 bits hold it.

The kernels shift a sum to the left before they multiply it where its scale is larger than the
output's (`qlvit_edge.integer.requantise.multiply_by_quantized_multiplier`). What leaves 32 bits
there wraps silently, on each processor in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Array
from qlvit_edge.integer.requantise import quantize_multiplier

Sums = NDArray[np.int64]
"""(O,) int64, one per output channel."""


def sum_bounds(columns: Array, bias: Array, zero_point: int) -> tuple[Sums, Sums]:
    """Return the smallest and the largest sum of each output channel, over all int8 inputs.

    Args:
        columns: weights (O, terms).
        bias: (O,).
        zero_point: of the input. Padding is a stored value like others: it widens nothing.
    """
    wide = columns.astype(np.int64)
    up, down = np.maximum(wide, 0).sum(axis=1), np.minimum(wide, 0).sum(axis=1)
    least, most = -128 - zero_point, 127 - zero_point
    added = bias.astype(np.int64)
    return up * least + down * most + added, up * most + down * least + added


def beyond_32_bits(low: Sums, high: Sums, factors: Sequence[float]) -> tuple[str, str] | None:
    """Return what is wrong, and a remedy, where a channel's shifted sum may leave 32 bits.

    Args:
        low: the smallest sum of each channel.
        high: the largest.
        factors: by which each channel's sum is brought to the output's scale.
    """
    for channel, factor in enumerate(factors):
        left = max(0, quantize_multiplier(factor)[1])
        least, most = int(low[channel]) << left, int(high[channel]) << left
        if least >= -(2**31) and most < 2**31:
            continue
        shifted = f", shifted left by {left} bits for the output's small scale," if left else ""
        of = f" of output channel {channel}" if len(factors) > 1 else ""
        finding = f"sums{of}{shifted} can be {least} to {most}, which 32 bits do not hold"
        remedy = "calibrate the output with a larger range" if left else "make the bias smaller"
        return finding, remedy
    return None
