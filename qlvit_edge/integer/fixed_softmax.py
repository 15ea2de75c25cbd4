"""Softmax of int8 values in 32-bit fixed point, as TensorFlow Lite's reference kernel has it.

The arithmetic is gemmlowp's (`fixedpoint.h`): a Taylor polynomial for exp between -1/4 and 0,
a product of constants for the rest of the exponent, Newton's method for the reciprocal. Since
exp depends only on the distance from the largest value, it is a table of 256 entries.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.requantise import quantize_multiplier, rounding_divide_by_pot
from qlvit_edge.integer.requantise import saturating_rounding_doubling_high_mul as high_mul

OUTPUT_SCALE = 1 / 256
OUTPUT_ZERO_POINT = -128

SMALLEST_SCALE = 2.0**-26
"""Below this a step is less than the fixed point resolves, and the kernel refuses it."""

_INTEGER_BITS = 5  # of a scaled distance; the fraction has 26
_SUM_BITS = 12  # integer bits of a sum of exponentials
_ONE = 2**31 - 1
_EXP_OF_MINUS_EIGHTH = 1895147668
_THIRD = 715827883
# exp(-2^e) as 0.31 fixed point for e = -2 … 4.
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_FORTY_EIGHT_OVER_17, _MINUS_32_OVER_17 = 1515870810, -1010580540  # 2.29 fixed point

Integers = NDArray[np.int64]


def fixed_softmax(x: NDArray[np.int8], scale: float) -> NDArray[np.int8]:
    """Return the softmax along the last axis, at scale 1/256 and zero point -128.

    Args:
        x: int8 stored values (…, n).
        scale: real value of one step of `x`, above `SMALLEST_SCALE`.
    """
    table = exponentials(scale)
    exponential = table[x.max(axis=-1, keepdims=True).astype(np.int64) - x]
    total = rounding_divide_by_pot(exponential, _SUM_BITS).sum(axis=-1, keepdims=True)
    headroom = 31 - np.floor(np.log2(total.astype(np.float64))).astype(np.int64)
    reciprocal = _one_over_one_plus((total << headroom) - 2**31)
    # Output bits: 31 fractional ones, less 8, less what the sum is above one.
    shift = _SUM_BITS - headroom + 31 - 8
    rounded = rounding_divide_by_pot(high_mul(reciprocal, exponential), shift)
    return np.clip(rounded + OUTPUT_ZERO_POINT, -128, 127).astype(np.int8)


def exponentials(scale: float) -> Integers:
    """Return exp(-scale · d) for d = 0 … 255 as 0.31 fixed point; 0 where it is too far."""
    real = min(scale * 2.0 ** (31 - _INTEGER_BITS), 2.0**31 - 1)
    multiplier, left = quantize_multiplier(real)
    furthest = math.floor((2**_INTEGER_BITS - 1) * 2.0 ** (31 - _INTEGER_BITS - left))
    distance = -np.arange(256, dtype=np.int64)
    value = _exp(high_mul(distance << left, multiplier))
    return np.where(-distance <= furthest, value, 0)


def _exp(a: Integers) -> Integers:
    """exp of negative 5.26 fixed point values as 0.31."""
    quarter = 2 ** (31 - _INTEGER_BITS - 2)
    low = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(low << _INTEGER_BITS)
    remainder = low - a
    for index, power in enumerate(_POWERS):
        bit = 2 ** (31 - _INTEGER_BITS - 2 + index)
        result = np.where(remainder & bit, high_mul(result, power), result)
    return np.where(a == 0, _ONE, result)


def _exp_near_zero(a: Integers) -> Integers:
    """exp of 0.31 values in [-1/4, 0), around -1/8."""
    x = a + 2**28
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4 = high_mul(x2, x2)
    tail = high_mul(rounding_divide_by_pot(x4, 2) + x3, _THIRD) + x2
    terms = x + rounding_divide_by_pot(tail, 1)
    return _EXP_OF_MINUS_EIGHTH + high_mul(terms, _EXP_OF_MINUS_EIGHTH)


def _one_over_one_plus(a: Integers) -> Integers:
    """1 / (1 + a) of 0.31 values in [0, 1), three steps of Newton's method."""
    half = (a + _ONE + 1) // 2
    x = _FORTY_EIGHT_OVER_17 + high_mul(half, _MINUS_32_OVER_17)
    for _ in range(3):
        rest = 2**29 - high_mul(half, x)
        x = x + _saturated(high_mul(x, rest) << 2)
    return _saturated(x << 1)


def _saturated(a: Integers) -> Integers:
    return np.clip(a, -(2**31), 2**31 - 1)
