"""Ranges that leave rare values out, computed from a histogram."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.observers.histogram import BINS, Histogram, Range
from qlvit_edge.integer.uniform import UniformParameters, quantise, uniform_parameters

TAIL: Final = 0.05
_LEVELS = 256
_COARSE = np.linspace(0.02, 1.0, 50)
_STEPS: Final = (0.004, 0.0008)
"""Shares of an end by which the fine searches go, around the best of the coarse one."""

_SWEEPS = 3
_SMOOTHING: Final = 1e-4
"""Share of the reference that a bin has at least in the quantised distribution."""


def percentile_range(histogram: Histogram, tail: float = TAIL) -> Range:
    """Return the edges of the bins where the tails end.

    Args:
        histogram: the values.
        tail: per cent of the values left out at each end.
    """
    cumulated = np.cumsum(histogram.counts) / histogram.counts.sum()
    edges = np.linspace(-histogram.span, histogram.span, BINS + 1)
    low = int(np.searchsorted(cumulated, tail / 100, side="right"))
    high = int(np.searchsorted(cumulated, 1 - tail / 100, side="left"))
    return float(edges[low]), float(edges[min(high, BINS - 1) + 1])


def expected_error(histogram: Histogram, candidate: Range) -> float:
    """Return the mean squared error of the 8-bit uniform quantiser.

    The values of a bin are taken as spread evenly over it and the error is integrated, so
    that ranges which differ by less than a bin differ in their error too.

    Args:
        histogram: the values.
        candidate: range that the quantiser is given (eq. 14-18).
    """
    centres, counts = histogram.occupied()
    parameters = uniform_parameters(*candidate)
    half = 0.5 * histogram.width
    error = _integral(centres + half, parameters) - _integral(centres - half, parameters)
    return float((error * counts).sum() / (counts.sum() * histogram.width))


def _integral(x: NDArray[np.float64], parameters: UniformParameters) -> NDArray[np.float64]:
    """Return the integral of the squared quantisation error up to ``x``, but for a constant.

    With u = x / s and k its level, of the squared distance from the nearest level that is
    ``s³ · (k / 12 + (u - k)³ / 3)``: each whole level adds a twelfth.
    """
    scaled = x / parameters.scale
    level = quantise(x, parameters) - parameters.zero_point
    return np.asarray(parameters.scale**3 * (level / 12 + (scaled - level) ** 3 / 3))


def mse_range(histogram: Histogram, extremes: Range) -> Range:
    """Return the range with the smallest `expected_error`; never worse than ``extremes``.

    Args:
        histogram: the values.
        extremes: smallest and largest value.
    """
    return _search(extremes, lambda candidate: expected_error(histogram, candidate))


def divergence(histogram: Histogram, candidate: Range) -> float:
    """Return what is lost of the values' distribution in 256 levels over ``candidate``.

    TensorRT's measure (Migacz, "8-bit Inference with TensorRT", GTC 2017) with two ends: the
    Kullback-Leibler divergence of the reference P, the counts of the bins inside with those
    outside folded into the edge bins, from Q, where the counts inside are spread evenly over
    the occupied bins of their level. Four things keep it from rewarding ranges that hold
    next to nothing, and one from fearing for what is kept anyway:

    - What is outside goes to the bin at the *edge of the range*, occupied or not, not to the
      outermost occupied one.
    - Q is divided by the count of all values, so clipping a share costs at least
      ``-log(1 - share)``, even where all that is left is one bin.
    - A bin of which Q holds nothing has `_SMOOTHING` of what P has there, as in MXNet.
    - Zeros, half the values behind an activation, are exact in any range: their bin counts no
      more than its neighbours, as in TensorRT.

    Args:
        histogram: the values.
        candidate: range that the quantiser is given.
    """
    parameters = uniform_parameters(*candidate)
    # Half a step beyond its outermost levels a range still rounds; it clips what is further out.
    first, last = (
        _bin(histogram, parameters.scale * (code - parameters.zero_point))
        for code in (-0.5, _LEVELS - 0.5)
    )
    counts = histogram.counts.astype(np.float64)
    counts[BINS // 2] = min(counts[BINS // 2], max(counts[BINS // 2 - 1], counts[BINS // 2 + 1]))
    total = counts.sum()
    if total == 0:
        return 0.0
    kept = counts[first : last + 1]
    reference = kept.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last + 1 :].sum()
    (occupied,) = np.nonzero(reference)
    centres = (occupied + first + 0.5) * histogram.width - histogram.span
    codes = quantise(centres, parameters)
    holding = kept[occupied] > 0
    bins = np.bincount(codes, holding, _LEVELS)
    spread = np.bincount(codes, kept[occupied], _LEVELS) / np.maximum(bins, 1)
    p = reference[occupied] / total
    q = np.maximum(np.where(holding, spread[codes], 0.0) / total, _SMOOTHING * p)
    return float((p * np.log(p / q)).sum())


def _bin(histogram: Histogram, value: float) -> int:
    """Return the bin that holds a value, the outermost one if none does."""
    return int(np.clip((value + histogram.span) // histogram.width, 0, BINS - 1))


def entropy_range(histogram: Histogram, extremes: Range) -> Range:
    """Return the range with the smallest `divergence`.

    Ranges with fewer bins than levels lose nothing inside by this measure and are not tried.

    Args:
        histogram: the values.
        extremes: smallest and largest value.
    """
    whole = _with_zero(extremes)

    def cost(candidate: Range) -> float:
        too_narrow = candidate[1] - candidate[0] < _LEVELS * histogram.width
        if too_narrow and candidate != whole:
            return float("inf")
        return divergence(histogram, candidate)

    return _search(extremes, cost)


def _with_zero(extremes: Range) -> Range:
    return min(extremes[0], 0.0), max(extremes[1], 0.0)


def _search(extremes: Range, cost: Callable[[Range], float]) -> Range:
    """Shrink one end, then the other, to the cheapest fiftieth; then finer, around that.

    An end on the far side of zero stays: the quantiser holds zero whatever it is given.
    """
    whole = _with_zero(extremes)
    ends = [end for end, value in enumerate(whole) if value != 0]
    best = np.ones(2)
    found = cost(whole)
    for step in (None, *_STEPS):
        for _ in range(_SWEEPS):
            before = found
            for end in ends:
                around = _COARSE if step is None else best[end] + step * np.arange(-5, 6)
                for share in around[(around > 0) & (around <= 1)]:
                    shares = best.copy()
                    shares[end] = share
                    tried = cost((whole[0] * float(shares[0]), whole[1] * float(shares[1])))
                    if tried < found:
                        best, found = shares, tried
            if found == before:
                break
    return whole[0] * float(best[0]), whole[1] * float(best[1])
