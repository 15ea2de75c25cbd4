"""The uniform quantiser of eq. 14-18, and the symmetric one for weights.

The printed zero point is a misprint; ``z_p = clip(round(-l / s), 0, 2^b - 1)``. Zero is always
representable: ``l = min(l, 0)``, ``μ = max(μ, 0)``. Ties round away from zero, as TFLite does.
Choosing scales and quantising real numbers is host work: weights and ranges at lowering time,
never an activation on the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class UniformParameters:
    """Scale and zero point of unsigned codes 0 … 2^b - 1.

    Attributes:
        scale: s of eq. 15.
        zero_point: z_p of eq. 18, the code of real 0.
        bits: b.
    """

    scale: float
    zero_point: int
    bits: int

    @property
    def int8_zero_point(self) -> int:
        """The zero point of the stored int8 value, ``code - 128`` (8 bits only)."""
        return self.zero_point - 128


def round_half_away(x: ArrayLike) -> NDArray[np.float64]:
    """Round to nearest, ties away from zero (NumPy's own rounding goes to even)."""
    values = np.asarray(x, np.float64)
    magnitude = np.abs(values)
    whole = np.floor(magnitude)
    # Comparing the fraction instead of adding 0.5 keeps 0.5 - 2^-54 from rounding up.
    return np.asarray(np.copysign(whole + (magnitude - whole >= 0.5), values))


def uniform_parameters(low: float, high: float, bits: int = 8) -> UniformParameters:
    """Scale and zero point for values in [low, high] (eq. 15-18).

    The range is widened to hold zero; an all-zero one gives scale 1.

    Raises:
        ValueError: if the range is not finite or is upside down.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"range {low} … {high} is not a finite interval")
    low, high = min(low, 0.0), max(high, 0.0)
    top = 2**bits - 1
    # Kernels read float32 scales; a range below their smallest normal number is zero to them.
    scale = float(np.float32((high - low) / top))
    if scale < float(np.finfo(np.float32).tiny):
        scale = 1.0
    zero_point = int(np.clip(round_half_away(-low / scale), 0, top))
    return UniformParameters(scale, zero_point, bits)


def quantise(x: ArrayLike, parameters: UniformParameters) -> NDArray[np.int64]:
    """Codes ``clip(round(x / s) + z_p, 0, 2^b - 1)`` (eq. 14), any shape."""
    codes = round_half_away(np.asarray(x, np.float64) / parameters.scale) + parameters.zero_point
    return np.clip(codes, 0, 2**parameters.bits - 1).astype(np.int64)


def dequantise(codes: ArrayLike, parameters: UniformParameters) -> NDArray[np.float64]:
    """Real values ``s · (code - z_p)``, any shape."""
    return parameters.scale * (np.asarray(codes, np.float64) - parameters.zero_point)


def quantise_weights(
    values: ArrayLike, axis: int, smallest_scale: ArrayLike = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Symmetric int8 weights, -127 … 127, with one scale per slice along `axis`.

    Args:
        values: real weights.
        axis: the output channels.
        smallest_scale: scalar or one per channel; scales below it are raised to it (a scale
            that is tiny beside the bias would overflow the int32 bias).

    Returns:
        int8 weights of the same shape, and float32-representable scales (channels,); a channel
        of zeros has scale 1, or `smallest_scale` if that is larger.
    """
    values = np.asarray(values, np.float64)
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    peak = np.abs(values).max(axis=others)
    scale = np.maximum(peak / 127.0, np.asarray(smallest_scale, np.float64))
    scale = np.where(scale < np.finfo(np.float32).tiny, 1.0, scale)
    scale = scale.astype(np.float32).astype(np.float64)
    shape = [1] * values.ndim
    shape[axis] = -1
    codes = np.clip(round_half_away(values / scale.reshape(shape)), -127, 127)
    return codes.astype(np.int8), scale
