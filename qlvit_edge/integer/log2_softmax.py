"""The softmax of eq. 6: probabilities as powers of two, their exponents as 4-bit codes.

``code = 15 - round(log2(Σ exp / exp_k))``, clipped to 0 … 15; value ``2^-(15 - code)``.
Rounding in the exponent has its threshold at √2. Because ``log2(exp(s·q))`` is linear in q,
the code is a subtraction: of the logit below its maximum and the logarithm of the sum.

Both forms compute, on int8 logits x of scale s, along one axis of N values::

    d = x - max(x)                        int8, scale s, zero point 127 (exact)
    S = Σ table[d]                        int32
    L = log_table[(S - smallest) >> k]    int8, scale ln(N)/255, zero point -128
    t = d - L                             int8, scale ln2, zero point 15: t *is* the code

They differ in the table that is summed and in the levels (15 - code) that survive:

- ``fast``: the table is int8 EXP at scale 1/255; one int8 table of powers of two keeps the
  8 levels from an anchor on (the first capped at 127, lower probabilities become 0).
- ``exact``: the table is :mod:`~qlvit_edge.integer.iexp`, in int32; all 16 levels, as the
  sum of two int8 tables (levels 0-7 and 8-15).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.choices import IntegerSoftmax
from qlvit_edge.integer.iexp import iexp_table
from qlvit_edge.integer.requantise import add_parameters, add_quantised
from qlvit_edge.integer.tables import (
    LEAST_MARGIN,
    elu,
    elu_margin,
    exp,
    look_up,
    lookup_table,
)

Form = IntegerSoftmax

LEVELS = 16
TOP_CODE = LEVELS - 1
TABLE_LEVELS = 8
LARGEST_ANCHOR = LEVELS - TABLE_LEVELS
SHIFTED_ZERO_POINT = 127
EXP_SCALE, EXP_ZERO_POINT, EXP_ONE = 1 / 255, -128, 255
LOG_ZERO_POINT = -128
ELU_ZERO_POINT = 127
POWER_ELU_SCALE = float(np.float32(1 / 126.999))  # 0.5 gives 64 and 2^-8 gives 0, as EXP does
CODE_SCALE, CODE_ZERO_POINT = float(np.float32(math.log(2))), TOP_CODE
LARGEST_AXIS = 2**15
_LARGEST_LOG_TABLE = 2**16
_MOST_STEPS = 2000  # of 2^-20 about a scale


@dataclass(frozen=True)
class LogTable:
    """Logarithms of every possible sum.

    Attributes:
        smallest: the sum when one value holds all the probability.
        shift: k, how many low bits of a sum are dropped; chosen from N so that the table has
            at most 65536 entries (an error of at most 2^(k-1) / smallest in the logarithm).
        scale: of the values, ln(N)/255: the sum of N terms is at most N times the smallest, so
            no step is wasted. A coarse logarithm shifts all codes of a column at once.
        zero_point: -128, more where the codes are raised.
        values: int8, ``ln(sum / smallest) - raised · ln2`` at that scale and zero point.
    """

    smallest: int
    shift: int
    scale: float
    zero_point: int
    values: NDArray[np.int8]


def raises(count: int, anchor: int) -> bool:
    """Tell whether the codes of `count` values can be raised by `anchor` levels."""
    return 1 << anchor <= count


def log_table(smallest: int, count: int, raised: int = 0) -> LogTable:
    """Tabulate ``ln(sum / smallest)`` for sums from `smallest` to ``count · smallest``.

    Args:
        smallest: sum.
        count: of values; at least ``2^raised``.
        raised: levels by which the codes are to be raised; that much less are the logarithms.

    Raises:
        ValueError: for more than 32768 values: the sums are proved to fit int32 up to there.
    """
    if count > LARGEST_AXIS:
        raise ValueError(f"softmax over {count} values, at most {LARGEST_AXIS} are supported")
    span = (count - 1) * smallest
    shift = max((span // _LARGEST_LOG_TABLE).bit_length(), 0)
    first = smallest + (np.arange((span >> shift) + 1, dtype=np.int64) << shift)
    middle = first + ((1 << shift) - 1) / 2
    scale = float(np.float32(math.log(max(count, 2)) / 255))
    less = raised * math.log(2) / scale
    zero_point = LOG_ZERO_POINT + round(less)
    stored = np.floor(np.log(middle / smallest) / scale - less + 0.5) + zero_point
    values = np.clip(stored, -128, 127).astype(np.int8)
    return LogTable(smallest, shift, scale, zero_point, values)


def power_scale(anchor: int) -> float:
    """Scale of an int8 table of powers of two whose largest level is `anchor`.

    Slightly above ``2^-(anchor + 7)``: EXP rounds 0.5 up to 1, which would let the level
    below the last one leak in; and the errors of +0.4 % here and -0.4 % at the capped
    top level balance.
    """
    return float(np.float32(2.0 ** -(anchor + TABLE_LEVELS - 1) * 128 / 127.5))


def power_table(anchor: int) -> NDArray[np.int8]:
    """Powers of two by code byte: 127 at level `anchor` and above, 64, 32, …, 1, then 0."""
    return lookup_table(exp, CODE_SCALE, CODE_ZERO_POINT, power_scale(anchor), 0)


def log2_codes(
    x: NDArray[np.int8], scale: float, axis: int, form: Form, raised: int = 0
) -> NDArray[np.int8]:
    """Return the bytes t, eq. 6's codes before clipping.

    Args:
        x: int8 logits of any shape (their zero point does not matter).
        scale: real value of one step, float32-representable.
        axis: along which the softmax runs.
        form: which table is summed.
        raised: levels by which all codes are more, see `raises`.

    Returns:
        int8, same shape; less `raised` and clipped to 0 … 15 they are the codes.
    """
    return logarithms(x, scale, axis, form, raised, CODE_SCALE, CODE_ZERO_POINT)


def logarithms(
    x: NDArray[np.int8],
    scale: float,
    axis: int,
    form: Form,
    raised: int,
    held_scale: float,
    held_zero_point: int,
) -> NDArray[np.int8]:
    """Return ``ln softmax(x) + raised · ln 2`` in int8 of a scale and zero point.

    The other arguments are those of `log2_codes`.
    """
    count = x.shape[axis]
    below = x.astype(np.int32) - x.max(axis=axis, keepdims=True)
    shifted = np.clip(below + SHIFTED_ZERO_POINT, -128, 127).astype(np.int8)
    if form == "fast":
        scale = shifted_scale(scale)
        exponential = look_up(fast_table(scale), shifted).astype(np.int32) - EXP_ZERO_POINT
        smallest = EXP_ONE
    else:
        table = iexp_table(scale, count)
        exponential = table[below + 255]
        smallest = int(table[255])
    total = exponential.sum(axis=axis, keepdims=True, dtype=np.int32)
    logs = log_table(smallest, count, raised)
    logarithm = logs.values[(total - np.int32(smallest)) >> logs.shift]
    parameters = add_parameters(
        (scale, logs.scale, held_scale),
        (SHIFTED_ZERO_POINT, logs.zero_point, held_zero_point),
    )
    return add_quantised(shifted, logarithm, parameters, sign=-1)


def fast_table(scale: float) -> NDArray[np.int8]:
    """Tabulate ``round(255 · exp(s · (d - 127))) - 128`` for the bytes d; s as `shifted_scale`."""
    return lookup_table(exp, scale, SHIFTED_ZERO_POINT, EXP_SCALE, EXP_ZERO_POINT)


@lru_cache
def shifted_scale(scale: float) -> float:
    """Return the scale of d for logits of a scale: the same, or up to 0.1 % off it.

    ELU with zero point 127 has the bytes of `fast_table`, and is what XNNPACK takes; moved is the
    scale where an entry would come too near to half a step for all kernels to agree. So small a
    change leaves the difference of two int8 values what it is.

    Raises:
        ValueError: no scale near this one will do.
    """
    for step in range(_MOST_STEPS):
        moved = float(np.float32(scale * (1 + (-1) ** step * ((step + 1) // 2) * 2.0**-20)))
        if elu_margin(moved, SHIFTED_ZERO_POINT, EXP_SCALE) >= LEAST_MARGIN and np.array_equal(
            fast_table(moved),
            lookup_table(elu, moved, SHIFTED_ZERO_POINT, EXP_SCALE, ELU_ZERO_POINT),
        ):
            return moved
    raise ValueError(f"no table of e^x for steps of {scale}")


def fast_probabilities(codes: NDArray[np.int8], anchor: int, raised: int = 0) -> NDArray[np.int8]:
    """Probabilities at scale ``power_scale(anchor)``, zero point 0, from unclipped codes.

    Args:
        codes: bytes of :func:`log2_codes`.
        anchor: 0 … 8, the smallest level that is kept. With anchor 8 the last level kept is
            15, where codes are clipped; with a smaller one whatever lies below level
            anchor + 7 is 0 anyway, clipped or not.
        raised: levels by which the codes are more: 0, or as many as `anchor`.
    """
    clipped = np.maximum(codes, raised) if anchor == LARGEST_ANCHOR else codes
    return look_up(power_table(anchor - raised), clipped)


def exact_probabilities(codes: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return probabilities as levels 0-7 at ``power_scale(0)`` and 8-15 at ``power_scale(8)``.

    EXP is monotone and would fill the second table with 127 for levels 0-7; the first table,
    saturated at the second one's scale, is 127 exactly there, and is subtracted.
    """
    clipped = np.maximum(codes, 0)
    high = look_up(power_table(0), clipped)
    low = look_up(power_table(LARGEST_ANCHOR), clipped)
    return high, low - np.where(high > 0, np.int8(127), np.int8(0))


def training_codes(x: ArrayLike, axis: int) -> NDArray[np.int64]:
    """Return eq. 6's codes of real logits: what training follows, in float64.

    This is the specification for the straight-through twin, not device arithmetic.

    Returns:
        codes 0 … 15; the probability is ``2^-(15 - code)``.
    """
    values = np.asarray(x, np.float64)
    below = values - values.max(axis=axis, keepdims=True)
    log2 = (below - np.log(np.exp(below).sum(axis=axis, keepdims=True))) / math.log(2)
    codes: NDArray[np.int64] = np.clip(TOP_CODE + np.floor(log2 + 0.5), 0, TOP_CODE).astype(
        np.int64
    )
    return codes
