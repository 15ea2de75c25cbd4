"""Fixed-point multiplication as TFLite's reference kernels do it (gemmlowp's rounding).

A real factor becomes a 31-bit multiplier and a power of two on the host
(:func:`quantize_multiplier`); on the device only integers remain
(:func:`multiply_by_quantized_multiplier`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Write a real factor as ``multiplier · 2^(shift - 31)`` (host work, at lowering time).

    Args:
        real: the factor, finite and >= 0.

    Returns:
        multiplier in [2^30, 2^31) (0 for factors below 2^-32), and shift, positive to the left.
        As TFLite's ``QuantizeMultiplier``.

    Raises:
        ValueError: for a negative or infinite factor.
    """
    if not (real >= 0 and math.isfinite(real)):
        raise ValueError(f"multiplier {real} is not a finite number >= 0")
    if real == 0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(mantissa * 2.0**31 + 0.5)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return multiplier, shift


def saturating_rounding_doubling_high_mul(a: NDArray[Any], b: NDArray[Any] | int) -> Int64:
    """Return the high 32 bits of ``2·a·b``, rounded to nearest, ties upwards.

    Args:
        a: int32 values.
        b: int32 multipliers; as every quantised multiplier they are >= 0, so that the one
            product that saturates, (-2^31)², cannot occur.

    Gemmlowp's truncating division with a sign-dependent nudge is exactly this floor.
    """
    return np.asarray((np.asarray(a, np.int64) * b + (1 << 30)) >> 31)


def rounding_divide_by_pot(x: NDArray[Any], exponent: NDArray[Any] | int) -> Int64:
    """Divide by ``2^exponent``, rounded to nearest, ties away from zero (exponent >= 0)."""
    x = np.asarray(x, np.int64)
    half = (np.int64(1) << np.asarray(exponent, np.int64)) >> 1
    return np.asarray((x + half - ((x < 0) & (half > 0))) >> exponent)


def multiply_by_quantized_multiplier(
    x: NDArray[Any], multiplier: NDArray[Any] | int, shift: NDArray[Any] | int
) -> Int64:
    """Multiply int32 values by ``multiplier · 2^(shift - 31)`` with TFLite's double rounding.

    Args:
        x: int32 accumulators (any integer dtype), in the range of int32 after the left shift.
        multiplier: 31-bit, scalar or broadcastable (per channel, along the last axis).
        shift: as `multiplier`; positive to the left.

    Returns:
        int64 array holding int32 values.
    """
    if isinstance(shift, int | np.integer):
        shifted = np.asarray(x, np.int64) << max(int(shift), 0)
        high = saturating_rounding_doubling_high_mul(shifted, multiplier)
        return rounding_divide_by_pot(high, -int(shift)) if shift < 0 else high
    left, right = np.maximum(shift, 0), np.maximum(-np.asarray(shift), 0)
    shifted = np.asarray(x, np.int64) << left if left.any() else np.asarray(x, np.int64)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, multiplier), right)


def multiply_64_by_quantized_multiplier(
    x: NDArray[Any], multiplier: NDArray[Any] | int, shift: NDArray[Any] | int
) -> Int64:
    """Multiply int64 values by ``multiplier · 2^(shift - 31)``, as TFLite does for int16 products.

    Only the multiplier's upper 16 bits count; one rounding, ties upwards; the kernels keep the
    result's lower 32 bits.

    Args:
        x: accumulators in [-2^47, 2^47).
        multiplier: 31-bit, scalar or broadcastable.
        shift: as `multiplier`, from -31 to 7; positive to the left.
    """
    multiplier = np.asarray(multiplier, np.int64)
    reduced = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    total_shift = 15 - np.asarray(shift, np.int64)
    half = np.int64(1) << (total_shift - 1)
    scaled = (np.asarray(x, np.int64) * reduced + half) >> total_shift
    return scaled.astype(np.int32).astype(np.int64)


def saturate_16(x: NDArray[Any]) -> NDArray[np.int16]:
    """Clip to int16."""
    return np.asarray(np.clip(x, -(2**15), 2**15 - 1), np.int16)


def requantise(
    accumulator: NDArray[Any],
    multiplier: NDArray[Any] | int,
    shift: NDArray[Any] | int,
    zero_point: int,
    low: int = -128,
    high: int = 127,
) -> NDArray[np.int8]:
    """Bring an int32 accumulator to int8: multiply, add the zero point, saturate."""
    scaled = multiply_by_quantized_multiplier(accumulator, multiplier, shift)
    scaled += zero_point
    return np.clip(scaled, low, high, out=scaled).astype(np.int8)


_ADD_HEADROOM = 20  # left shift that TFLite gives both operands before it aligns their scales
_ADD_HEADROOM_16 = 15  # of int16 operands


@dataclass(frozen=True)
class AddParameters:
    """Multipliers that align two int8 operands and bring their sum to the output's scale.

    Attributes:
        first: (multiplier, shift) of the first operand.
        second: (multiplier, shift) of the second.
        output: (multiplier, shift) of the sum.
        zero_points: of first, second and output.
    """

    first: tuple[int, int]
    second: tuple[int, int]
    output: tuple[int, int]
    zero_points: tuple[int, int, int]


def add_parameters(
    scales: tuple[float, float, float],
    zero_points: tuple[int, int, int],
    headroom: int = _ADD_HEADROOM,
) -> AddParameters:
    """Quantise the factors of an int8 ADD or SUB (host work, at lowering time).

    Args:
        scales: of first operand, second operand and output.
        zero_points: likewise.
        headroom: left shift of the operands.
    """
    twice_largest = 2 * max(scales[0], scales[1])
    return AddParameters(
        quantize_multiplier(scales[0] / twice_largest),
        quantize_multiplier(scales[1] / twice_largest),
        quantize_multiplier(twice_largest / ((1 << headroom) * scales[2])),
        zero_points,
    )


def add_quantised(
    a: NDArray[np.int8], b: NDArray[np.int8], parameters: AddParameters, sign: int = 1
) -> NDArray[np.int8]:
    """Add (sign 1) or subtract (sign -1) int8 tensors as TFLite's ADD and SUB; broadcasts."""
    left = _aligned(parameters.zero_points[0], parameters.first)[a.view(np.uint8)]
    right = _aligned(parameters.zero_points[1], parameters.second)[b.view(np.uint8)]
    return requantise(left + sign * right, *parameters.output, parameters.zero_points[2])


def add_quantised_16(
    a: NDArray[np.int16], b: NDArray[np.int16], scales: tuple[float, float, float]
) -> NDArray[np.int16]:
    """Add int16 tensors of zero point 0 as TFLite's ADD; broadcasts.

    Args:
        a: first operand.
        b: second operand.
        scales: of first operand, second operand and output.
    """
    parameters = add_parameters(scales, (0, 0, 0), _ADD_HEADROOM_16)
    left, right = (
        multiply_by_quantized_multiplier(x.astype(np.int64) << _ADD_HEADROOM_16, *factor)
        for x, factor in ((a, parameters.first), (b, parameters.second))
    )
    return saturate_16(multiply_by_quantized_multiplier(left + right, *parameters.output))


_AT_A_TIME_16 = 16  # int16 values in a step of the optimised kernel


def add_quantised_16_by_vectors(
    a: NDArray[np.int16], b: NDArray[np.int16], scales: tuple[float, float, float]
) -> NDArray[np.int16]:
    """Add int16 tensors of zero point 0 as the optimised builtin kernel, the default one, does.

    Sixteen values at a time it shifts operands first and multiplies then, where
    `add_quantised_16`, which is right for what is left over and for operands that differ in shape,
    multiplies and then shifts: it rounds once less. Of random sums one in 700 000 is another one.

    Args:
        a: first operand (B, …), each of the batch a run of its own.
        b: second operand.
        scales: of first operand, second operand and output.

    Source: TFLite's ``AddElementwiseInt16`` with NEON, which x86-64 runs in SSE.
    """
    total = add_quantised_16(a, b, scales)
    if a.shape != b.shape:
        return total
    parameters = add_parameters(scales, (0, 0, 0), _ADD_HEADROOM_16)
    flat = total.reshape(len(total), -1)
    whole = flat.shape[1] // _AT_A_TIME_16 * _AT_A_TIME_16
    terms = []
    for x, (multiplier, shift) in ((a, parameters.first), (b, parameters.second)):
        left = _ADD_HEADROOM_16 + shift
        wide = x.reshape(len(x), -1)[:, :whole].astype(np.int64)
        shifted = wide << left if left >= 0 else wide >> -left
        terms.append(saturating_rounding_doubling_high_mul(shifted, multiplier))
    sums = multiply_by_quantized_multiplier(terms[0] + terms[1], *parameters.output)
    flat[:, :whole] = saturate_16(sums)
    return total


def multiply_quantised(
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    scales: tuple[float, float, float],
    zero_points: tuple[int, int, int],
) -> NDArray[np.int8]:
    """Multiply int8 tensors as TFLite's MUL; broadcasts.

    Args:
        a: first operand.
        b: second operand.
        scales: of first operand, second operand and output.
        zero_points: likewise.
    """
    product = (a.astype(np.int32) - zero_points[0]) * (b.astype(np.int32) - zero_points[1])
    return requantise(product, *_product_factor(scales), zero_points[2])


def multiply_quantised_16(
    a: NDArray[np.int16], b: NDArray[np.int16], scales: tuple[float, float, float]
) -> NDArray[np.int16]:
    """Multiply int16 tensors of zero point 0 as TFLite's MUL; see `add_quantised_16`."""
    product = a.astype(np.int32) * b.astype(np.int32)
    return saturate_16(multiply_by_quantized_multiplier(product, *_product_factor(scales)))


def _product_factor(scales: tuple[float, float, float]) -> tuple[int, int]:
    # The kernel multiplies and divides the scales in float32.
    factor = np.float32(scales[0]) * np.float32(scales[1]) / np.float32(scales[2])
    return quantize_multiplier(float(factor))


def _aligned(zero_point: int, factor: tuple[int, int]) -> Int64:
    """Every possible operand on the common scale, indexed by its byte read as unsigned."""
    stored = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
    return multiply_by_quantized_multiplier((stored - zero_point) << _ADD_HEADROOM, *factor)
