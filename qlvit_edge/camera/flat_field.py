"""Uneven light: how it falls on a field, and its correction.

Light falls off smoothly, so its logarithm is a polynomial of the place. What is not smooth (cells,
dirt, dark corners) is what such a polynomial leaves: it tells a blank field from others.

Grey values are powers of light in cameras (about 1/2.2), so that dividing them by those of a blank
field corrects light as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

DEGREE = 4
TERMS = tuple((i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i))
"""Powers of x and y, each from -1 at one edge of the frame to 1 at the other."""

BLOCKS = 32
"""Blocks per side, of whose medians the polynomial is fitted."""

Coefficients = tuple[float, ...]


def fit(channel: NDArray[np.float32]) -> Coefficients:
    """Return the coefficients of ln(light) over a channel, one per entry of `TERMS`.

    Args:
        channel: (H, W) mean grey values of a blank field, at least `BLOCKS` pixels a side.
    """
    height, width = channel.shape
    ys = np.linspace(0, height, BLOCKS + 1).astype(int)
    xs = np.linspace(0, width, BLOCKS + 1).astype(int)
    blocks = [
        float(np.median(channel[y0:y1, x0:x1]))
        for y0, y1 in pairwise(ys)
        for x0, x1 in pairwise(xs)
    ]
    logs = np.log(np.maximum(np.array(blocks), 1.0))
    middles = (2 * np.arange(BLOCKS) + 1) / BLOCKS - 1
    y, x = (one.ravel() for one in np.meshgrid(middles, middles, indexing="ij"))
    matrix = np.stack([x**i * y**j for i, j in TERMS], axis=1)
    weights = np.ones_like(logs)
    for _ in range(5):  # what is not smooth counts less each time
        root = np.sqrt(weights)
        found = np.linalg.lstsq(matrix * root[:, None], logs * root, rcond=None)[0]
        weights = 1 / (1 + ((logs - matrix @ found) / 0.02) ** 2)
    return tuple(float(value) for value in found)


def evaluate(coefficients: Sequence[float], width: int, height: int) -> NDArray[np.float32]:
    """Return the light that coefficients describe, (height, width) float32."""
    x = (2 * np.arange(width, dtype=np.float32) + 1) / width - 1
    y = (2 * np.arange(height, dtype=np.float32) + 1) / height - 1
    logs = np.zeros((height, width), np.float32)
    for (i, j), value in zip(TERMS, coefficients, strict=True):
        logs += np.float32(value) * (y**j)[:, None] * (x**i)[None, :]
    return np.asarray(np.exp(logs), np.float32)


class FlatField:
    """A correction of uneven light; the brightest place of each colour stays as it is."""

    def __init__(self, channels: Sequence[Sequence[float]]) -> None:
        """Note the coefficients of red, green and blue, see `fit`."""
        self._channels = [tuple(one) for one in channels]
        self._gains: dict[tuple[int, int], NDArray[np.float32]] = {}

    def gains(self, width: int, height: int) -> NDArray[np.float32]:
        """Return by what each value is multiplied, (height, width, 3) float32, from 1."""
        size = width, height
        if size not in self._gains:
            light = [evaluate(one, width, height) for one in self._channels]
            self._gains[size] = np.dstack([one.max() / one for one in light]).astype(np.float32)
        return self._gains[size]

    def largest(self) -> float:
        """Return the largest gain anywhere."""
        return float(self.gains(64, 64).max())

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8 RGB as even light would show it."""
        gains = self.gains(image.shape[1], image.shape[0])
        return np.asarray(cv2.multiply(image, gains, dtype=cv2.CV_8U), np.uint8)
