"""Which eight of the sixteen powers of two a ``fast`` log2 softmax keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.log2_softmax import LARGEST_ANCHOR, power_scale


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
