"""Observers: each sees a tensor's values image by image and proposes one range for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.log2_softmax import LARGEST_ANCHOR, power_scale

Range = tuple[float, float]
_BINS = 8192


class MinMaxObserver:
    """The smallest and the largest value seen (eq. 16, 17).

    The safe default: rare large values carry classes, and clipping them is what kills an
    integer model.
    """

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf

    def update(self, values: NDArray[Any]) -> None:
        """See one image's values."""
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    def range(self) -> Range:
        """Return the extremes."""
        return self.low, self.high


class PercentileObserver:
    """The range that holds all but ``tail`` per cent of the values at either end.

    Values are counted in bins over [-span, span); when a value does not fit, the span
    doubles and pairs of bins merge, so nothing is kept but the counts.
    """

    def __init__(self, tail: float = 0.05) -> None:
        """Clip ``tail`` per cent of the values at each end."""
        self.tail = tail
        self.span = 2.0**-8
        self.counts = np.zeros(_BINS, np.int64)

    def update(self, values: NDArray[Any]) -> None:
        """See one image's values."""
        flat = values.ravel()
        while np.abs(flat).max() >= self.span:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.pad(merged, _BINS // 4)
            self.span *= 2
        # Span and bins are powers of two: in float64 the product with a float32 is exact, also
        # where float32 itself would underflow to zero and change the bin.
        scaled = flat.astype(np.float64) * (_BINS / (2 * self.span))
        bins = np.floor(scaled).astype(np.int64) + _BINS // 2
        self.counts += np.bincount(bins, minlength=_BINS)

    def range(self) -> Range:
        """Return the edges of the bins where the tails end."""
        cumulated = np.cumsum(self.counts) / self.counts.sum()
        edges = np.linspace(-self.span, self.span, _BINS + 1)
        low = int(np.searchsorted(cumulated, self.tail / 100, side="right"))
        high = int(np.searchsorted(cumulated, 1 - self.tail / 100, side="left"))
        return float(edges[low]), float(edges[min(high, _BINS - 1) + 1])


class AnchorObserver:
    """Weighs what each anchor of a ``fast`` log2 softmax would cost and proposes the best.

    One int8 table holds eight consecutive powers of two, from ``2^-anchor`` down. A high
    anchor caps the rare large probabilities, a low one loses the many small ones. What
    matters is the mass of a column, since the product with the keys sums over tokens: the
    anchor with the smallest squared error of the columns' sums wins.
    """

    def __init__(self, axis: int) -> None:
        """Watch a softmax along ``axis``."""
        self.axis = axis
        self.errors = np.zeros(LARGEST_ANCHOR + 1)

    def update(self, probabilities: NDArray[Any]) -> None:
        """See one image's probabilities."""
        exact = probabilities.sum(self.axis, dtype=np.float64)
        for anchor in range(len(self.errors)):
            step = power_scale(anchor)
            kept = np.minimum(np.floor(probabilities / step + 0.5), 127) * step
            self.errors[anchor] += np.square(kept.sum(self.axis) - exact).sum()

    def anchor(self) -> int:
        """Return the exponent of the largest level that is kept."""
        return int(self.errors.argmin())
