"""LayerNorm's standardisation, ``(x - mean) / √(var + ε)`` over the channels, in integers.

The gain γ and the offset β are not here: they fold into what follows, as BatchNorm's do.

On int8 values q of scale s, over the C channels of one position::

    m = (Σ q · round(2^23 / C) + 2^(t-1)) >> t    int32, the mean with f = 23 - t fraction bits
    d = 2^f · q - m                               int32
    V = Σ d² + ε'                                 int32, C · 4^f / s² times the variance
    R = root_table[index(V)]                      int32, 2^30 / √V
    y = requantise(d · R)                         int8 of int32 at scale √C · 2^-30

Standardised values do not depend on s (but for ε), so one table of reciprocal roots serves
every norm of every network. `index` compands V: it is V itself below 2^12, then grows 64 times
slower in each of three pieces. It is concave, so it is the minimum of its four lines, and no
reciprocal root is further off than 0.4 % (0.06 % in the quadratic mean).

No int32 overflows: ``Σ d² < 2^29`` by the choice of f, ``ε' < 2^29``, and ``|d| <= √V`` bounds
``|d · R|`` by 1.004 · 2^30.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.requantise import quantize_multiplier, requantise

MEAN_BITS = 23
ROOT_BITS = 30
LARGEST_SQUARES = 2**29
LARGEST_EPSILON = 2**29 - 1
LARGEST_CHANNELS = 2**14
PIECE = 2**12  # entries of the first piece; the others have 63/64 of them
PIECE_BITS = 6
PIECES = 4


@dataclass(frozen=True)
class Standardisation:
    """Integers of one norm (host work, at lowering time).

    Attributes:
        fraction_bits: f, as many as int32 has room for: 5 for 24 channels, 2 for 768.
        mean_factor: round(2^23 / C).
        mean_shift: t.
        epsilon: ε' = ε · C · 4^f / s², 1 … 2^29 - 1.
        product_scale: of d · R, √C · 2^-30 as float32.
    """

    fraction_bits: int
    mean_factor: int
    mean_shift: int
    epsilon: int
    product_scale: float


def standardisation(channels: int, scale: float, epsilon: float) -> Standardisation:
    """Quantise the constants of a norm over `channels` values of scale `scale`.

    Args:
        channels: C.
        scale: real value of one step of the input.
        epsilon: ε, real, added to the variance.

    Raises:
        ValueError: for more than 16384 channels.
    """
    if not 1 <= channels <= LARGEST_CHANNELS:
        raise ValueError(f"norm over {channels} channels, 1 … {LARGEST_CHANNELS} are supported")
    bits = 0
    # Values 0 … 255 lie within 127.5 of some centre: no variance is above 127.5²; the mean's
    # rounding error is below 1.
    while channels * ((127.5 * 2 ** (bits + 1)) ** 2 + 1) < LARGEST_SQUARES:
        bits += 1
    wanted = epsilon * channels * 4**bits / scale**2
    return Standardisation(
        fraction_bits=bits,
        mean_factor=math.floor(2**MEAN_BITS / channels + 0.5),
        mean_shift=MEAN_BITS - bits,
        epsilon=int(min(max(math.floor(min(wanted, 2.0**30) + 0.5), 1), LARGEST_EPSILON)),
        product_scale=float(np.float32(math.sqrt(channels) / 2**ROOT_BITS)),
    )


def piece_offset(piece: int) -> int:
    """Return what is added to ``V >> (6 · piece)`` in a piece of the companding."""
    return piece * (PIECE - (PIECE >> PIECE_BITS))


def table_index(squares: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index of V (any shape, 0 … 2^30 - 1) in the table of reciprocal roots."""
    values = np.asarray(squares, np.int64)
    lines = [(values >> (PIECE_BITS * piece)) + piece_offset(piece) for piece in range(PIECES)]
    return np.asarray(np.minimum.reduce(lines))


@cache
def root_table() -> NDArray[np.int32]:
    """Tabulate ``round(2^30 / √V)`` in the middle of each index's values; 16192 entries."""
    size = piece_offset(PIECES - 1) + PIECE
    index = np.arange(size)
    piece = np.minimum(np.maximum(index - (PIECE >> PIECE_BITS), 0) // piece_offset(1), PIECES - 1)
    bits = PIECE_BITS * piece
    middle = ((index - piece * piece_offset(1)) << bits) + ((1 << bits) - 1) / 2
    middle[0] = 1.0  # V is at least 1
    table: NDArray[np.int32] = np.floor(2.0**ROOT_BITS / np.sqrt(middle) + 0.5).astype(np.int32)
    table.flags.writeable = False
    return table


def standardise(
    x: NDArray[np.int8], parameters: Standardisation, output_scale: float, output_zero_point: int
) -> NDArray[np.int8]:
    """Standardise the last axis.

    Args:
        x: int8 (…, C); the zero point does not matter.
        parameters: of this norm.
        output_scale: of the result.
        output_zero_point: of the result.

    Returns:
        int8, same shape; constant channels give real 0.
    """
    q = x.astype(np.int32)
    total = q.sum(axis=-1, keepdims=True, dtype=np.int32)
    half = np.int32(1 << (parameters.mean_shift - 1))
    mean = (total * np.int32(parameters.mean_factor) + half) >> parameters.mean_shift
    deviation = (q << parameters.fraction_bits) - mean
    squares = (deviation**2).sum(axis=-1, keepdims=True, dtype=np.int32)
    root = root_table()[table_index(squares + np.int32(parameters.epsilon))]
    factor = quantize_multiplier(parameters.product_scale / output_scale)
    return requantise(deviation * root, *factor, output_zero_point)
