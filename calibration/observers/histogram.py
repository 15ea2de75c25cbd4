"""Counts of a tensor's values, however far they reach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
BINS = 8192


class Histogram:
    """Values counted in 8192 bins over [-span, span).

    When a value does not fit, the span doubles and pairs of bins merge, so nothing is kept
    but the counts.

    Attributes:
        span: a power of two, above every value's magnitude.
        counts: (8192,) int64.
    """

    def __init__(self) -> None:
        """Begin without values."""
        self.span = 2.0**-8
        self.counts = np.zeros(BINS, np.int64)

    def update(self, values: NDArray[Any]) -> None:
        """Count one image's values, any shape, float32.

        Raises:
            ValueError: a value is infinite or not a number.
        """
        flat = values.ravel()
        if not np.isfinite(flat).all():
            raise ValueError("holds values that are infinite or not numbers")
        while float(np.abs(flat).max()) >= self.span:  # as float32 the span may overflow
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.pad(merged, BINS // 4)
            self.span *= 2
        # Span and bins are powers of two: in float64 the product with a float32 is exact, also
        # where float32 itself would underflow to zero and change the bin.
        scaled = flat.astype(np.float64) * (BINS / (2 * self.span))
        bins = np.floor(scaled).astype(np.int64) + BINS // 2
        self.counts += np.bincount(bins, minlength=BINS)

    @property
    def width(self) -> float:
        """Width of a bin."""
        return 2 * self.span / BINS

    def occupied(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the centres of the bins that hold values, and their counts, both (n,)."""
        (index,) = np.nonzero(self.counts)
        centres = (index.astype(np.float64) + 0.5) * self.width - self.span
        return centres, self.counts[index]
