"""What a sum of kernels weighed by powers of two can reach (eq. 1-3 with eq. 6's probabilities)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LARGEST_SUM = math.sqrt(2.0)  # probabilities are rounded in the exponent, each by √2 at most


def largest_mixture(values: ArrayLike) -> NDArray[np.float64]:
    """Bound ``|Σ_k p_k v_k|`` over all that a log2 softmax can answer with.

    The probabilities p are powers of two, at most 1, and together at most √2, so the largest
    sum gives 1 to the largest value, 1/4 to the next, and so on.

    Args:
        values: (K, …), real.

    Returns:
        (…), not negative.
    """
    stacked = np.asarray(values, np.float64)
    powers, left = [], _LARGEST_SUM
    for _ in range(len(stacked)):
        power = min(1.0, 2.0 ** math.floor(math.log2(left)))
        powers.append(power)
        left -= power
    weights = np.array(powers).reshape(-1, *(1,) * (stacked.ndim - 1))
    bounds = [
        (weights * -np.sort(-np.maximum(sign * stacked, 0.0), axis=0)).sum(0) for sign in (1, -1)
    ]
    return np.asarray(np.maximum(*bounds))
