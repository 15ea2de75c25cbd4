"""The softmax in int8, for networks whose softmax is not rounded to powers of two in training.

It is the log2 softmax (:mod:`qlvit_edge.integer.log2_softmax`) with a finer logarithm: on int8
logits x of scale s, along one axis, with ``d = x - max(x)`` and the logarithm L of Σ exp(d)
computed as there,

    t = d - L + anchor · ln 2     int8, scale `LOG_SCALE`, zero point 127: nothing above 0
    p = 2^-anchor · exp(t)        int8, scale 2^-anchor / 255, zero point -128

A step of t is 2.5 % of a probability; what is below 1/510 of the largest probability that can be
held becomes 0. No probability may be above ``2^-anchor``: calibration says which ones there are,
larger ones saturate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.log2_softmax import (
    EXP_SCALE,
    EXP_ZERO_POINT,
    SHIFTED_ZERO_POINT,
    Form,
    fast_table,
    logarithms,
    shifted_scale,
)
from qlvit_edge.integer.tables import look_up

LOG_SCALE = shifted_scale(0.025)  # 254 steps are 6.35: e^-6.35 is less than half of 1/255
LOG_ZERO_POINT = SHIFTED_ZERO_POINT
SHARE_SCALE, SHARE_ZERO_POINT = EXP_SCALE, EXP_ZERO_POINT
LESS_ONE_ZERO_POINT = 127  # of e^t - 1, whose bytes are those of e^t


def anchor_of(largest: float, count: int) -> int:
    """Return the most negative exponent of 2 that `largest` of `count` probabilities is not above.

    As a number from 0 on, and at most such that ``2^anchor`` is not above `count`: the largest
    probability cannot be below ``1/count``.
    """
    seen = math.floor(-math.log2(min(max(largest, 1 / count), 1.0)))
    return min(seen, math.floor(math.log2(count)))


def plain_probabilities(
    x: NDArray[np.int8], scale: float, axis: int, form: Form, anchor: int
) -> NDArray[np.int8]:
    """Return probabilities at scale ``2^-anchor / 255``, zero point -128.

    Args:
        x: int8 logits of any shape (their zero point does not matter).
        scale: real value of one step, float32-representable.
        axis: along which the softmax runs.
        form: which table of exponentials is summed, see `log2_softmax`.
        anchor: see `anchor_of`.
    """
    logs = logarithms(x, scale, axis, form, anchor, LOG_SCALE, LOG_ZERO_POINT)
    return look_up(fast_table(LOG_SCALE), logs)
