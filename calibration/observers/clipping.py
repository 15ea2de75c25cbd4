"""Ranges that leave rare values out, computed from a histogram."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.observers.histogram import BINS, Histogram, Range
from qlvit_edge.integer.uniform import dequantise, quantise, uniform_parameters

TAIL: Final = 0.05
_LEVELS = 256
_SHRUNK = np.linspace(0.02, 1.0, 50)
_SWEEPS = 3


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
    """Return the mean squared error of the 8-bit uniform quantiser, taken at the bins' centres.

    Args:
        histogram: the values.
        candidate: range that the quantiser is given (eq. 14-18).
    """
    centres, counts = histogram.occupied()
    parameters = uniform_parameters(*candidate)
    error = dequantise(quantise(centres, parameters), parameters) - centres
    return float((np.square(error) * counts).sum() / counts.sum())


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
    Kullback-Leibler divergence of P, the counts with those outside added to the outermost
    bins inside, from Q, where the counts inside are spread evenly over the occupied bins of
    their level. TensorRT moves one threshold of a symmetric range; here both ends move.

    Args:
        histogram: the values.
        candidate: range that the quantiser is given.
    """
    centres, counts = histogram.occupied()
    parameters = uniform_parameters(*candidate)
    low, high = (parameters.scale * (code - parameters.zero_point) for code in (0, _LEVELS - 1))
    half = 0.5 * parameters.scale
    inside = (centres >= low - half) & (centres <= high + half)
    if not inside.any():
        return float("inf")
    kept = counts[inside].astype(np.float64)
    codes = quantise(centres[inside], parameters)
    spread = (
        np.bincount(codes, kept, _LEVELS) / np.maximum(np.bincount(codes, minlength=_LEVELS), 1)
    )[codes]
    clipped = kept.copy()
    clipped[0] += counts[centres < low - half].sum()
    clipped[-1] += counts[centres > high + half].sum()
    p: NDArray[np.float64] = clipped / clipped.sum()
    q: NDArray[np.float64] = spread / spread.sum()
    return float((p * np.log(p / q)).sum())


def entropy_range(histogram: Histogram, extremes: Range) -> Range:
    """Return the range with the smallest `divergence`.

    Ranges with fewer bins than levels lose nothing by this measure and are not tried.

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
    """Shrink one end, then the other, to the cheapest fiftieth, until neither moves.

    An end on the far side of zero stays: the quantiser holds zero whatever it is given.
    """
    best = low, high = _with_zero(extremes)
    if low == high:
        return best
    found = cost(best)
    for _ in range(_SWEEPS):
        before = best
        for candidates in (
            [(low * share, best[1]) for share in _SHRUNK if low < 0],
            [(best[0], high * share) for share in _SHRUNK if high > 0],
        ):
            for candidate in candidates:
                tried = cost((float(candidate[0]), float(candidate[1])))
                if tried < found:
                    best, found = (float(candidate[0]), float(candidate[1])), tried
        if best == before:
            break
    return best
