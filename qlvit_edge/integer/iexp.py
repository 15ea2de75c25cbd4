"""I-BERT's integer exponential (Kim et al. 2021, algorithm 2) as a table for int8 logits.

``exp(x) ≈ poly(r) · 2^-q`` with ``x = -q·ln2 + r`` and a second-order polynomial on
``(-ln2, 0]``. An int8 logit below its maximum has 256 values, so the device looks the
result up. The logit is shifted left by 6 bits first: ``⌊ln2 / s⌋`` is a coarse number at
8-bit scales (0.7 of a 4-bit code; 0.024 after the shift).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

A, B, C = 0.35815147, 0.96963238, 1.0  # exp(r) ≈ A·r² + B·r + C on (-ln2, 0]
LN2 = 0.6931
N = 30
PRESCALE_BITS = 6


def iexp(x: int, scale: float, n: int = N) -> int:
    """Return the published algorithm's integer for ``x <= 0`` at `scale`.

    Python integers, because with n = 30 the result does not fit int32 (nor, at small scales,
    int64); real value: ``iexp · A · scale² / 2^n``.

    Args:
        x: integer logit minus the maximum, <= 0.
        scale: real value of one step of `x`; its constants are quantised at lowering time.
        n: right shifts that are kept as fraction bits.
    """
    x0 = math.floor(-LN2 / scale)
    b, c = math.floor(B / A / scale), math.floor(C / A / scale**2)
    x = max(x, n * x0)
    q = x // x0 if x0 < 0 else 0
    r = x - q * x0
    return max((r * (r + b) + c) << (n - q), 0)


def iexp_table(scale: float, tokens: int) -> NDArray[np.int32]:
    """Tabulate iexp for ``x - max`` = -255 … 0, small enough that `tokens` of them add up.

    Every entry is shifted right by one constant, the smallest that keeps
    ``tokens · table.max()`` below 2^31.

    Args:
        scale: of the int8 logits.
        tokens: how many exponentials are summed at most.

    Returns:
        (256,) int32; entry i belongs to ``x - max = i - 255``.

    Raises:
        ValueError: if the scale is too coarse for the algorithm (one step above 40).
    """
    fine = scale / 2**PRESCALE_BITS
    if math.floor(C / A / fine**2) < 2 or math.floor(-LN2 / fine) > -1:
        raise ValueError(f"logit scale {scale} is too coarse for iexp")
    values = [iexp(x << PRESCALE_BITS, fine) for x in range(-255, 1)]
    shift = 0
    while (max(values) >> shift) * tokens >= 2**31:
        shift += 1
    return np.array([value >> shift for value in values], np.int32)
