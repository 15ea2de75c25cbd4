"""Resizing with integer weights: the same bytes on every CPU.

A separable triangle filter (bilinear, widened when shrinking so that every input pixel
counts: antialiased). The weights are integers that sum to 2¹⁶ in every row, made by
integer division, and the result is rounded once, after both passes. No step depends on
the order of additions, vector width or fused multiply-adds, so x86 and arm64 agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

WEIGHT_BITS = 16
"""Each row of weights sums to 2 to this power."""

_BLOCK = 8  # output rows a matrix product makes; a few rows share most of their input
_PART = 1 << 21  # samples that are copied as floats at a time
_KEPT = 1 << 16  # inputs times outputs of an axis whose weights are kept for the next image

_Floats = NDArray[np.float32] | NDArray[np.float64]
_Kind = Literal["float32", "float64"]


@lru_cache(maxsize=64)
def triangle_weights(
    length_in: int, length_out: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the weights that turn ``length_in`` samples into ``length_out``.

    Output i sits at (i + ½)·in/out; the weight of input j falls linearly from there and
    reaches zero max(1, in/out) away. Taps outside the image are left out and the row is
    scaled to sum exactly to 2¹⁶, what is lost by rounding down going to the largest
    remainders (the first of equals).

    Args:
        length_in: samples along the input axis, at least 1.
        length_out: samples along the output axis, at least 1.

    Returns:
        (length_out,) int64, the first input of each output; and (length_out, taps) int64,
        non-negative, the weights of it and the inputs after it. Both are read-only.
    """
    total = 1 << WEIGHT_BITS
    outputs = np.arange(length_out, dtype=np.int64)[:, None]
    reach = max(length_in, length_out)
    # Only taps nearer than `reach` / out have a weight: a window of them, the same for all rows.
    first = np.maximum(0, ((2 * outputs + 1) * length_in - 2 * reach) // (2 * length_out))
    window = min(length_in, 2 * reach // length_out + 3)
    first = np.minimum(first, length_in - window)
    inputs = first + np.arange(window)
    # Distances in units of 1/(2·out) input samples, so that all are integers.
    distance = np.abs((2 * inputs + 1) * length_out - (2 * outputs + 1) * length_in)
    height = np.maximum(0, 2 * reach - distance)
    scaled = height * total
    sums = height.sum(axis=1, keepdims=True)
    rows = scaled // sums
    lost = total - rows.sum(axis=1, keepdims=True)
    remainder = scaled - rows * sums
    order = np.argsort(-remainder, axis=1, kind="stable")
    np.put_along_axis(
        rows, order, np.take_along_axis(rows, order, 1) + (np.arange(window) < lost), 1
    )
    first = first[:, 0]
    first.setflags(write=False)
    rows.setflags(write=False)
    return first, rows


def resample(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image to ``size``, not keeping its proportions.

    The products run in floats (BLAS is many times faster than NumPy's integer product), which
    carry them exactly whatever the order: every partial sum is an integer, of at most
    255·2¹⁶ < 2²⁴ in the first pass (float32) and 255·2³² < 2⁵³ in the second (float64). This
    also makes the order of the two passes free: the axis that shrinks more goes first.

    Args:
        image: (H, W, C) uint8.
        size: (height, width) of the result.

    Returns:
        (height, width, C) uint8, rounded half up.

    Raises:
        ValueError: the image is not uint8 with three axes, or an axis is empty.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"expected (H, W, C) uint8, got {image.shape} {image.dtype}")
    height, width = size
    if min(*image.shape, height, width) < 1:
        raise ValueError(f"cannot resize {image.shape} to {size}")
    high, wide, _ = image.shape
    if (high, wide) == (height, width):
        return image.copy()
    upright = height * wide <= high * width
    values = image if upright else image.transpose(1, 0, 2)
    first, second = (height, width) if upright else (width, height)
    sums = _along_first_axis(values, first, "float32").transpose(1, 0, 2)
    sums = _along_first_axis(sums, second, "float64")
    # Adding a power of two, scaling by one and flooring are exact as well.
    sums += float(1 << (2 * WEIGHT_BITS - 1))
    sums *= 2.0 ** (-2 * WEIGHT_BITS)
    rounded = np.floor(sums, out=sums).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(1, 0, 2) if upright else rounded)


def _along_first_axis(values: NDArray[np.uint8] | _Floats, length: int, kind: _Kind) -> _Floats:
    """Resample axis 0 of (N, M, C) to ``length``; integers × 2¹⁶, carried in floats.

    Only a part of ``values`` is copied at a time, so that a large image costs no more
    memory than a small one.
    """
    before, wide, channels = values.shape
    result: _Floats = np.empty((length, wide, channels), kind)
    small = before * length <= _KEPT
    for start, taps, block in (_kept_blocks if small else _blocks)(before, length, kind):
        step = max(1, _PART // (block.shape[1] * channels))
        for left in range(0, wide, step):
            part = values[taps, left : left + step].astype(kind, order="C")
            made = block @ part.reshape(len(part), -1)
            result[start : start + len(block), left : left + step] = made.reshape(
                len(block), -1, channels
            )
    return result


def _blocks(before: int, length: int, kind: _Kind) -> Iterator[tuple[int, slice, _Floats]]:
    """Give, for a few outputs at a time, the first one, the inputs that they need, and weights."""
    first, rows = triangle_weights(before, length)
    for start in range(0, length, _BLOCK):
        some, weights = first[start : start + _BLOCK], rows[start : start + _BLOCK]
        begin, end = int(some.min()), int(some.max()) + rows.shape[1]
        block: _Floats = np.zeros((len(some), end - begin), kind)
        places = some[:, None] - begin + np.arange(rows.shape[1])
        block[np.arange(len(some))[:, None], places] = weights
        yield start, slice(begin, end), block


@lru_cache(maxsize=64)
def _kept_blocks(before: int, length: int, kind: _Kind) -> tuple[tuple[int, slice, _Floats], ...]:
    """Return `_blocks` of a crop's size, which comes again."""
    return tuple(_blocks(before, length, kind))
