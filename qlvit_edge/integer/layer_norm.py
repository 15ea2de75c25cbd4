"""LayerNorm's standardisation, ``(x - mean) / √(var + ε)`` over the channels, in integers.

The gain γ and the offset β are not here: they fold into what follows, as BatchNorm's do.

On int8 values x, over the C channels of one position::

    m = mean(x)                                   int8, a 1×1 convolution with weights 1/C
    d = x - m                                     int8, zero point 0
    V = Σ d²                                      int32
    i = compand((V + ε') >> 2j)                   int32
    h, l = high_table[i], low_table[i]            int8, scales ρ/255 and ρ/255², zero point -128
    y = d · h + d · l                             int8: two products, each rounded, and a sum

h and l are the two digits, in base 255, of the reciprocal root ``min(ρ, √C / (s_d √V))``: 16
bits, so that positions may differ in variance by four decades. ρ is a power-of-two share of
√C / s_d just above the largest root that calibration saw, so that in units of ρ the tables are
the same for every norm of every network.

`compand` is V' itself below 2^14 and grows 256 times slower above. It is concave, so it is the
minimum of two lines. No reciprocal root below ρ is further off than 0.6 %, where V' is
smallest in its piece.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.requantise import (
    add_parameters,
    add_quantised,
    multiply_quantised,
    quantize_multiplier,
    requantise,
)

PIECE = 2**14
PIECE_BITS = 8
PIECE_OFFSET = PIECE - (PIECE >> PIECE_BITS)
LARGEST_SQUARES = PIECE << PIECE_BITS  # of V', 2^22
ROOT_ONE = 8  # √V' below which a reciprocal root is ρ
DIGIT = 255
DIGIT_ZERO_POINT = -128
LARGEST_CHANNELS = 2**14
_LARGEST_EPSILON = 2**28

Quantised = tuple[float, int]
"""Scale and zero point."""


@dataclass(frozen=True)
class Roots:
    """What the sums of squares of one norm go through (host work, at lowering time).

    Attributes:
        raised: ε' = ε · C / s_d², and half of what the shift drops.
        shift: 2j.
        high_scale: ρ / 255.
        low_scale: ρ / 255².
    """

    raised: int
    shift: int
    high_scale: float
    low_scale: float


def roots(channels: int, deviation_scale: float, epsilon: float, largest: float) -> Roots:
    """Quantise the constants of a norm.

    Args:
        channels: C.
        deviation_scale: s_d, real value of one step of d.
        epsilon: ε, real, added to the variance.
        largest: the largest ``1 / √(var + ε)`` that calibration saw.

    Raises:
        ValueError: for more than 16384 channels, or a largest root that is not positive.
    """
    if not 1 <= channels <= LARGEST_CHANNELS:
        raise ValueError(f"norm over {channels} channels, 1 … {LARGEST_CHANNELS} are supported")
    if not (largest > 0 and math.isfinite(largest)):
        raise ValueError(f"largest reciprocal root {largest} is not a positive number")
    small = math.floor(min(epsilon * channels / deviation_scale**2, _LARGEST_EPSILON) + 0.5)
    unit = math.sqrt(channels) / (ROOT_ONE * deviation_scale)
    steps = math.floor(min(max(math.log2(unit / largest), 0), 13))
    while (channels * 2**14 + small + (1 << 2 * steps >> 1)) >> 2 * steps >= LARGEST_SQUARES:
        steps += 1
    peak = unit / 2**steps
    return Roots(
        raised=small + (1 << 2 * steps >> 1),
        shift=2 * steps,
        high_scale=float(np.float32(peak / DIGIT)),
        low_scale=float(np.float32(peak / DIGIT**2)),
    )


def compand(squares: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index of V' (any shape, 0 … 2^22 - 1) in the tables of roots."""
    values = np.asarray(squares, np.int64)
    return np.asarray(np.minimum(values, (values >> PIECE_BITS) + PIECE_OFFSET))


@cache
def root_tables() -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Tabulate both digits of ``min(1, 8 / √V')`` by index; 32704 entries each."""
    index = np.arange(PIECE_OFFSET + PIECE)
    beyond = ((index - PIECE_OFFSET) << PIECE_BITS) + ((1 << PIECE_BITS) - 1) / 2
    middle = np.where(index < PIECE, index, beyond)
    root = np.minimum(ROOT_ONE / np.sqrt(np.maximum(middle, 1)), 1.0) * DIGIT
    high = np.floor(root)
    low = np.floor((root - high) * DIGIT + 0.5)
    tables = [(digit + DIGIT_ZERO_POINT).astype(np.int8) for digit in (high, low)]
    for table in tables:
        table.flags.writeable = False
    return tables[0], tables[1]


def standardise(
    x: NDArray[np.int8],
    source: Quantised,
    mean: Quantised,
    deviation_scale: float,
    constants: Roots,
    output: Quantised,
) -> NDArray[np.int8]:
    """Standardise the last axis.

    Args:
        x: int8 (…, C).
        source: of `x`.
        mean: of the means m.
        deviation_scale: of the deviations d.
        constants: see :func:`roots`.
        output: of the result.

    Returns:
        int8, same shape; constant channels give real 0 if their mean is exact.
    """
    weight_scale = float(np.float32(1 / x.shape[-1] / 127))
    total = (x.astype(np.int32) - source[1]).sum(axis=-1, keepdims=True) * 127
    factor = quantize_multiplier(source[0] * weight_scale / mean[0])
    means = requantise(total, *factor, mean[1])
    difference = add_parameters((source[0], mean[0], deviation_scale), (source[1], mean[1], 0))
    deviation = add_quantised(x, means, difference, sign=-1)
    squares = (deviation.astype(np.int32) ** 2).sum(axis=-1, keepdims=True, dtype=np.int32)
    index = compand((squares + np.int32(constants.raised)) >> constants.shift)
    products = [
        multiply_quantised(
            deviation, table[index], (deviation_scale, scale, output[0]), (0, -128, output[1])
        )
        for table, scale in zip(
            root_tables(), (constants.high_scale, constants.low_scale), strict=True
        )
    ]
    same = add_parameters((output[0],) * 3, (output[1],) * 3)
    return add_quantised(products[0], products[1], same)
