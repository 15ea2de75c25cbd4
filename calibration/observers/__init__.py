"""Observers: each sees a tensor's values image by image and proposes one range for it.

`tensor` holds them together, so that one pass over the images asks all of them; `histogram`
is what those that clip are computed from, `clipping` the two that search for a range, `anchor`
the softmax's.
"""

from qlvit_edge.calibration.observers.anchor import AnchorObserver
from qlvit_edge.calibration.observers.clipping import entropy_range, mse_range, percentile_range
from qlvit_edge.calibration.observers.histogram import Histogram, Range
from qlvit_edge.calibration.observers.tensor import MOMENTUM, TensorObserver, require_finite
from qlvit_edge.choices import OBSERVERS, ObserverName

__all__ = [
    "MOMENTUM",
    "OBSERVERS",
    "AnchorObserver",
    "Histogram",
    "ObserverName",
    "Range",
    "TensorObserver",
    "entropy_range",
    "mse_range",
    "percentile_range",
    "require_finite",
]
