"""Resizing with integer weights: the same bytes on every CPU.

A separable triangle filter (bilinear, widened when shrinking so that every input pixel
counts: antialiased). The weights are integers that sum to 2¹⁶ in every row, made by
integer division, and the result is rounded once, after both passes. No step depends on
the order of additions, vector width or fused multiply-adds, so x86 and arm64 agree.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WEIGHT_BITS = 16
"""Each row of weights sums to 2 to this power."""

_BLOCK = 8  # output rows a matrix product makes; a few rows share most of their input
_PART = 1 << 21  # samples that are copied as float64 at a time


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

    The products run in float64 (BLAS is many times faster than NumPy's integer
    product): every partial sum is an integer of at most 255·2³² < 2⁵³, so float64
    carries it exactly whatever the order. This also makes the order of the two passes
    free: the axis that shrinks more goes first.

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
    if height * wide <= high * width:
        sums = _along_first_axis(image, height)
        sums = _along_first_axis(sums.transpose(1, 0, 2), width).transpose(1, 0, 2)
    else:
        sums = _along_first_axis(image.transpose(1, 0, 2), width)
        sums = _along_first_axis(sums.transpose(1, 0, 2), height)
    shift = 2 * WEIGHT_BITS
    # Adding a power of two, scaling by one and flooring are exact as well.
    rounded = np.floor((sums + float(1 << (shift - 1))) * 2.0**-shift)
    return np.ascontiguousarray(rounded.astype(np.uint8))


def _along_first_axis(
    values: NDArray[np.uint8] | NDArray[np.float64], length: int
) -> NDArray[np.float64]:
    """Resample axis 0 of (N, M, C) to ``length``; integers × 2¹⁶, carried in float64.

    Only a part of ``values`` is copied at a time, so that a large image costs no more
    memory than a small one.
    """
    first, rows = triangle_weights(values.shape[0], length)
    _, wide, channels = values.shape
    result = np.empty((length, wide, channels), dtype=np.float64)
    for start in range(0, length, _BLOCK):
        block, taps = _block(first[start : start + _BLOCK], rows[start : start + _BLOCK])
        step = max(1, _PART // (block.shape[1] * channels))
        for left in range(0, wide, step):
            part = values[taps, left : left + step].astype(np.float64, order="C")
            made = block @ part.reshape(len(part), -1)
            result[start : start + len(block), left : left + step] = made.reshape(
                len(block), -1, channels
            )
    return result


def _block(first: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], slice]:
    """Return the weights of a few outputs as a matrix, and the inputs that its columns are."""
    begin, end = int(first.min()), int(first.max()) + rows.shape[1]
    block = np.zeros((len(first), end - begin))
    np.put_along_axis(block, first[:, None] - begin + np.arange(rows.shape[1]), rows, 1)
    return block, slice(begin, end)
