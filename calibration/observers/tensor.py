"""Every observer of one tensor, asked in one pass."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.observers.clipping import entropy_range, mse_range, percentile_range
from qlvit_edge.calibration.observers.histogram import Histogram, Range
from qlvit_edge.choices import ObserverName
from qlvit_edge.errors import CalibrationError

MOMENTUM: Final = 0.99


def require_finite(tensor: str, values: NDArray[Any], image: str) -> None:
    """Refuse a tensor that overflows on an image.

    Raises:
        CalibrationError: a value is infinite or not a number.
    """
    if not np.isfinite(values).all():
        raise CalibrationError(
            tensor,
            f"is infinite or not a number on {image}",
            "the network has diverged: train it again with a lower --rate",
        )


class TensorObserver:
    """Sees a tensor's values image by image; every observer's range at the end.

    - ``minmax``: the smallest and the largest value (eq. 16, 17).
    - ``percentile``: all but 0.05 % of the values at either end.
    - ``mse``: the smallest expected squared error of the 8-bit quantiser.
    - ``entropy``: the smallest divergence of the quantised distribution.
    - ``moving``: each image's extremes, averaged with weights that fall by `MOMENTUM` an
      image (Jacob et al., CVPR 2018), divided by the weights' sum so that the first image
      counts no more than others.
    """

    def __init__(self) -> None:
        """Begin without values."""
        self.low = math.inf
        self.high = -math.inf
        self.histogram = Histogram()
        self._average = np.zeros(2)
        self._weights = 0.0

    def update(self, values: NDArray[Any]) -> None:
        """See one image's values, any shape, float32.

        Raises:
            ValueError: a value is infinite or not a number; the observer is as before.
        """
        self.histogram.update(values)
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._average = MOMENTUM * self._average + (1 - MOMENTUM) * np.array([low, high])
        self._weights = MOMENTUM * self._weights + (1 - MOMENTUM)

    def ranges(self) -> dict[ObserverName, Range]:
        """Return every observer's proposal."""
        extremes = self.low, self.high
        low, high = (self._average / self._weights).tolist()
        return {
            "minmax": extremes,
            "percentile": percentile_range(self.histogram),
            "mse": mse_range(self.histogram, extremes),
            "entropy": entropy_range(self.histogram, extremes),
            "moving": (low, high),
        }
