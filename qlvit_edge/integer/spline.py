"""Cubic B-splines and the SiLU beside them, tabulated for the 256 positions of an int8.

The device looks up one row for each value of a map: what every basis function, and the base
activation, is there. A 1×1 convolution with the coefficients then makes the KAN layer's sum
(eq. 11, 12). Every column uses the whole int8 range; how large it really is goes into the
convolution's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.integer.uniform import round_half_away

SCALE, ZERO_POINT = 1 / 255, -128  # 0 … 1 in 256 steps
LARGEST_BASIS = 2 / 3

TRUNCATED_CUBES = ((2.0, 1.0), (1.0, -4.0))
DIVISOR = 6
"""The cubic B-spline about 0, of support (-2, 2), by its distance from there:
``B(d) = Σ factor · max(extent - d, 0)³ / 6`` over (extent, factor)."""


@dataclass(frozen=True)
class SplineTable:
    """Bases and SiLU by stored position.

    Attributes:
        values: int8 (256, intervals + 4), row i for the stored position i - 128; intervals + 3
            bases, then SiLU, each as a share 0 … 1 of its span.
        scale: of the values.
        zero_point: of the values.
        spans: (intervals + 4,), what a share of 1 stands for.
        silu_lowest: what SiLU's share of 0 stands for.
    """

    values: NDArray[np.int8]
    scale: float
    zero_point: int
    spans: NDArray[np.float64]
    silu_lowest: float


def cubic(distance: Any) -> Any:
    """Return the cubic B-spline at distances from its middle.

    Args:
        distance: 0 or more; NumPy's array or PyTorch's tensor, which has the same words.
    """
    cubes = (factor * (extent - distance).clip(0.0) ** 3 for extent, factor in TRUNCATED_CUBES)
    return sum(cubes) / DIVISOR


def bases(position: NDArray[np.float64], intervals: int) -> NDArray[np.float64]:
    """Return the cubic B-splines (…, intervals + 3) at positions (…) from 0 to intervals."""
    return np.asarray(cubic(np.abs(position[..., None] - np.arange(-1, intervals + 2))))


def spline_table(scale: float, zero_point: int, intervals: int, reach: float) -> SplineTable:
    """Tabulate a grid (host work, at lowering time).

    Args:
        scale: of the stored position, in intervals.
        zero_point: of the stored position; positions outside the grid take its ends' values.
        intervals: of the grid.
        reach: the grid spans -reach … reach.
    """
    stored = np.arange(-128, 128)
    position = np.clip(scale * (stored - zero_point), 0.0, float(intervals))
    u = 2 * reach * position / intervals - reach
    silu = u / (1 + np.exp(-u))
    lowest, highest = float(silu.min()), float(silu.max())
    span = highest - lowest if highest > lowest else 1.0
    shares = np.concatenate(
        [bases(position, intervals) / LARGEST_BASIS, ((silu - lowest) / span)[:, None]], 1
    )
    codes = round_half_away(shares / SCALE) + ZERO_POINT
    return SplineTable(
        values=np.clip(codes, -128, 127).astype(np.int8),
        scale=SCALE,
        zero_point=ZERO_POINT,
        spans=np.array([LARGEST_BASIS] * (intervals + 3) + [span]),
        silu_lowest=lowest,
    )
