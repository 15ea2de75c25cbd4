"""Exact integer inner products carried by floating-point matrix products.

BLAS multiplies floats faster than NumPy multiplies integers. A float32 (float64) product
of integers is exact, in any order of summation, as long as the sum of the absolute values
of all terms stays below 2^24 (2^53); :func:`carrier` picks the type by that bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Carrier = type[np.float32] | type[np.float64]


def carrier(largest_sum: int) -> Carrier:
    """Return the narrowest float type in which sums up to `largest_sum` are exact integers.

    Raises:
        OverflowError: if not even float64 can carry them.
    """
    if largest_sum < 2**24:
        return np.float32
    if largest_sum < 2**53:
        return np.float64
    raise OverflowError(f"sums up to {largest_sum} are not exact in float64")


def largest_product_sum(weight: NDArray[Any], span: int = 255) -> int:
    """Bound ``Σ |w|·|x|`` per output for weights (terms, outputs) and ``|x| <= span``."""
    return int(np.abs(weight.astype(np.int64)).sum(axis=0).max(initial=0)) * span
