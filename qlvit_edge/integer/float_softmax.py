"""Softmax of int8 values as TFLite's optimised builtin kernel has it on x86-64, in float32.

XNNPACK leaves int8 SOFTMAX to builtin kernels; the reference one is
:mod:`qlvit_edge.integer.fixed_softmax`, from which this differs in six of a million values. On
arm64 the kernel is another one still, with tables of 16 bits, for which nothing is claimed.

Source: TFLite's ``optimized_ops::Softmax``; measured on ai-edge-litert 2.3.0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.fixed_softmax import OUTPUT_SCALE, OUTPUT_ZERO_POINT


def float_softmax(x: NDArray[np.int8], scale: float) -> NDArray[np.int8]:
    """Return the softmax along the last axis, at scale 1/256 and zero point -128.

    ``⌊e / (Σe · 1/256) + ½⌋ - 128``, every step in float32, the sum from the first to the last.

    Args:
        x: int8 stored values (…, n).
        scale: real value of one step of `x`.
    """
    distances = np.arange(256, dtype=np.float32)
    table = np.exp((np.float32(-scale) * distances).astype(np.float64)).astype(np.float32)
    exponential = table[x.max(axis=-1, keepdims=True).astype(np.int64) - x]
    total = np.add.accumulate(exponential, axis=-1, dtype=np.float32)[..., -1:]
    inverse = np.float32(1) / (total * np.float32(OUTPUT_SCALE))
    rounded = np.floor(exponential * inverse + np.float32(0.5)) + OUTPUT_ZERO_POINT
    return np.asarray(np.clip(rounded, -128, 127), np.int8)
