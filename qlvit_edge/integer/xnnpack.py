"""The arithmetic of XNNPACK's int8 operators, byte for byte: the kernels that TFLite runs.

TFLite's default kernels on x86-64 and arm64 are XNNPACK's. Unlike the reference kernels
(:mod:`qlvit_edge.integer.requantise`) they bring an accumulator to int8 in float32. Below,
``f32(·)`` is one float32 operation, rounded to nearest even; ``rint`` rounds halves to even;
scales are multiplied in the order in which they are written. Everything saturates to int8 last.

=========== ======================================== ==============================================
operator    factor                                   result
=========== ======================================== ==============================================
convolution ``f32(f32(s_x · s_w) / s_y)`` a channel  ``rint(f32(f32(acc) · factor)) + z_y``
matrices    ``f32(f32(s_a · s_b) / s_y)``            the same
ADD, SUB    ``r = f32(s / s_y)`` per operand         in integers of 21 bits: `add_quantised`
MUL         ``f32(f32(s_a · s_b) / s_y)``            x86: as a convolution; arm64: the exact product
                                                     with the factor, halves upwards
MEAN of n   ``f32(f32(s_x / s_y) · f32(1 / n))``     ``rint(f32(f32(Σ · factor) + offset))``, offset
                                                     ``f32(z_y - f32(f32(n · z_x) · factor))``;
                                                     arm64 rounds either only once (fused)
LOGISTIC    a table                                  ``rint(256 · f32(σ(f32(s_x · (i - z_x)))))``
=========== ======================================== ==============================================

MUL and MEAN have two forms; they differ near ties only. A graph whose scales were chosen so that
no product and no sum tells them apart (:mod:`qlvit_edge.converters.one_arithmetic`) computes the
same bytes on both.

Source: XNNPACK's ``src/qs8-*`` micro-kernels (``fp32`` requantisation; ``rndnu`` for MUL on arm64)
and the parameters that its operators make for them; measured on ai-edge-litert 2.2 and 2.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Form = Literal["x86", "arm64"]
FORMS: tuple[Form, ...] = get_args(Form)

Scales = tuple[float, float, float]
"""Scales of first operand, second operand and output."""
ZeroPoints = tuple[int, int, int]
"""Zero points of first operand, second operand and output."""

_SUM_BITS = 20  # fraction bits of the larger factor of a sum
_SUM_RATIOS = (2.0**-10, 2.0**8)
_PRODUCT_RATIOS = (2.0**-16, 2.0**8)
_MANTISSA_BITS = 24


def product_factor(first: float, second: float, output: float) -> np.float32:
    """Return ``f32(f32(first · second) / output)``: from products to steps of the output."""
    return np.float32(np.float32(np.float32(first) * np.float32(second)) / np.float32(output))


def channel_factors(x: float, weights: tuple[float, ...], output: float) -> NDArray[np.float32]:
    """Return a convolution's factors, one per scale of its weights, float32 (channels,)."""
    return np.asarray(np.float32(x) * np.array(weights, np.float32) / np.float32(output))


def requantise(
    accumulator: NDArray[np.int32],
    factor: NDArray[np.float32] | np.float32,
    zero_point: int,
    low: int = -128,
) -> NDArray[np.int8]:
    """Bring int32 accumulators to int8, ``rint(f32(f32(acc) · factor)) + zero_point``.

    Args:
        accumulator: bias included, int32.
        factor: scalar or per channel, along the last axis.
        zero_point: of the output.
        low: smallest result; the zero point where a RELU is fused, -127 where RELU_N1_TO_1 is.
    """
    scaled = accumulator.astype(np.float32)
    scaled *= factor
    np.rint(scaled, out=scaled)
    # Saturated before the zero point is added: beyond 2^24 that would be inexact.
    np.clip(scaled, low - zero_point, 127 - zero_point, out=scaled)
    scaled += np.float32(zero_point)
    return np.asarray(scaled, np.int8)


@dataclass(frozen=True)
class SumParameters:
    """Integer factors of an ADD or SUB.

    Attributes:
        first: of the first operand.
        second: of the second.
        shift: of their sum, to the right.
    """

    first: int
    second: int
    shift: int


def takes_sum(scales: Scales) -> bool:
    """Whether XNNPACK takes an ADD or SUB; what it leaves runs on the builtin kernels."""
    ratios = [np.float32(scale) / np.float32(scales[2]) for scale in scales[:2]]
    return all(_SUM_RATIOS[0] <= ratio < _SUM_RATIOS[1] for ratio in ratios)


def sum_parameters(scales: Scales) -> SumParameters:
    """Quantise ``r_i = f32(s_i / s_y)`` to ``rint(r_i · 2^shift)``, the larger one of 21 bits."""
    first, second = (np.float32(scale) / np.float32(scales[2]) for scale in scales[:2])
    exponent = math.frexp(float(max(first, second)))[1] - 1
    shift = _SUM_BITS - exponent
    return SumParameters(
        round(math.ldexp(float(first), shift)), round(math.ldexp(float(second), shift)), shift
    )


def add_quantised(
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    scales: Scales,
    zero_points: ZeroPoints,
    sign: int = 1,
) -> NDArray[np.int8]:
    """Add (sign 1) or subtract (sign -1) int8 tensors; broadcasts.

    ``((a - z_a) · m_a ± (b - z_b) · m_b + 2^(shift - 1)) >> shift``, plus the output's zero point.
    """
    parameters = sum_parameters(scales)
    stored = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32)
    left = (stored - zero_points[0]) * np.int32(parameters.first)
    left += np.int32(1 << (parameters.shift - 1))
    right = (stored - zero_points[1]) * np.int32(sign * parameters.second)
    total = np.asarray(left[a.view(np.uint8)] + right[b.view(np.uint8)])
    total >>= np.int32(parameters.shift)
    total += np.int32(zero_points[2])
    return np.asarray(np.clip(total, -128, 127, out=total), np.int8)


def takes_product(scales: Scales) -> bool:
    """Whether XNNPACK takes a MUL; what it leaves runs on the builtin kernels."""
    return bool(_PRODUCT_RATIOS[0] <= product_factor(*scales) < _PRODUCT_RATIOS[1])


def scale_products(
    products: NDArray[np.int32], scales: Scales, zero_point: int, form: Form = "x86"
) -> NDArray[np.int8]:
    """Bring a MUL's products of centred operands to int8.

    Args:
        products: ``(a - z_a) · (b - z_b)``.
        scales: of the operands and the output.
        zero_point: of the output.
        form: on which processors.
    """
    factor = product_factor(*scales)
    if form == "x86":
        return requantise(products, factor, zero_point)
    mantissa, exponent = math.frexp(float(factor))
    right = _MANTISSA_BITS - exponent  # factor = whole · 2^-right, right >= 16
    whole = int(math.ldexp(mantissa, _MANTISSA_BITS))
    scaled = (products.astype(np.int64) * whole + (1 << (right - 1))) >> right
    return np.asarray(np.clip(scaled + zero_point, -128, 127), np.int8)


def scale_sums(
    sums: NDArray[np.int32],
    count: int,
    scales: tuple[float, float],
    zero_points: tuple[int, int],
    form: Form = "x86",
) -> NDArray[np.int8]:
    """Bring a MEAN's sums of stored values to int8.

    Args:
        sums: of `count` stored int8 values each, zero point included.
        count: how many values a mean is over.
        scales: of input and output.
        zero_points: of input and output.
        form: on which processors.
    """
    ratio = np.float32(scales[0]) / np.float32(scales[1])
    factor = np.float32(ratio * (np.float32(1) / np.float32(count)))
    centre = np.float32(count * zero_points[0])
    if form == "x86":
        offset = np.float32(np.float32(zero_points[1]) - centre * factor)
        scaled = sums.astype(np.float32) * factor + offset
    else:
        offset = np.float32(fused(-centre, factor, np.float32(zero_points[1])))
        scaled = fused(sums.astype(np.float32), factor, offset)
    return np.asarray(np.clip(np.rint(scaled), -128, 127), np.int8)


def fused(a: NDArray[np.float32] | np.float32, b: np.float32, c: np.float32) -> NDArray[np.float32]:
    """Return ``a · b + c`` rounded to float32 once, as a fused multiply-add does.

    The product is exact in float64. The sum is rounded to odd there, so that rounding it once
    more, to float32, is rounding the exact sum (Boldo and Melquiond, 2008).
    """
    product = np.asarray(a, np.float64) * np.float64(b)
    addend = np.float64(c)
    total = np.asarray(product + addend)
    back = total - product
    rest = (product - (total - back)) + (addend - back)
    even = (total.view(np.int64) & 1) == 0
    towards = np.where(rest > 0, np.inf, -np.inf)
    odd = np.where((rest != 0) & even, np.nextafter(total, towards), total)
    return np.asarray(odd.astype(np.float32))


def logistic_table(scale: float, zero_point: int) -> NDArray[np.int8]:
    """Tabulate the sigmoid of the inputs -128 … 127, at scale 1/256 and zero point -128."""
    stored = np.arange(-128, 128, dtype=np.int32)
    x = (np.float32(scale) * (stored - zero_point).astype(np.float32)).astype(np.float64)
    with np.errstate(over="ignore"):
        sigmoid = (1 / (1 + np.exp(-x))).astype(np.float32)
    return np.clip(np.rint(256 * sigmoid.astype(np.float64) - 128), -128, 127).astype(np.int8)
