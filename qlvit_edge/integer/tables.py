"""256-entry int8 tables of unary functions, exactly as TFLite's kernels fill theirs.

The kernels compute a table once, in float32, when a model is loaded, and only look up after
that. The same is done here: :func:`lookup_table` is the loading, :func:`look_up` the device.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.uniform import round_half_away

Float32 = NDArray[np.float32]

LEAST_MARGIN = 1e-4
"""Steps by which table entries stay off halves, see `elu_margin`."""


def lookup_table(
    function: Callable[[Float32], Float32],
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
) -> NDArray[np.int8]:
    """Tabulate `function` for the 256 int8 inputs -128 … 127.

    Every step is a float32 operation in the order of TFLite's ``LUTPopulate``.
    """
    stored = np.arange(-128, 128, dtype=np.int32)
    real = np.float32(input_scale) * (stored - input_zero_point).astype(np.float32)
    inverse = np.float32(1) / np.float32(output_scale)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities saturate below
        rescaled = round_half_away((function(real) * inverse).astype(np.float32))
    codes = (rescaled.astype(np.float32) + np.float32(output_zero_point)).astype(np.float64)
    return np.clip(codes, -128, 127).astype(np.int8)


def look_up(table: NDArray[np.int8], stored: NDArray[np.int8]) -> NDArray[np.int8]:
    """Replace every int8 value by its table entry."""
    return np.asarray(table[stored.view(np.uint8) ^ np.uint8(0x80)])


def exp(x: Float32) -> Float32:
    """Compute e^x, correctly rounded to float32."""
    with np.errstate(over="ignore"):
        return np.exp(x.astype(np.float64)).astype(np.float32)


def elu(x: Float32) -> Float32:
    """Compute e^x - 1 below 0, x above, correctly rounded to float32."""
    low = np.minimum(x, np.float32(0)).astype(np.float64)
    return np.where(x < 0, np.expm1(low).astype(np.float32), x)


def elu_margin(input_scale: float, input_zero_point: int, output_scale: float) -> float:
    """Return how near an entry of an ELU table comes to half a step, in steps.

    Kernels round halves in two ways and e^x in its last bit. Above `LEAST_MARGIN` no kernel can
    differ: float32 leaves 3e-5 steps of uncertainty in 255.
    """
    stored = np.arange(-128, 128) - input_zero_point
    real = np.minimum(np.float64(np.float32(input_scale)) * stored, 0.0)
    steps = np.expm1(real) / np.float64(np.float32(output_scale))
    return float(np.abs(steps - np.floor(steps) - 0.5).min())


def logistic(x: Float32) -> Float32:
    """``1 / (1 + e^-x)`` with float32 steps."""
    return np.asarray(np.float32(1) / (np.float32(1) + exp(-x)))
