"""Stain and light in optical density, where what a stain absorbs adds up.

A pixel of value v has the optical density −ln((v + ½) / 256) in its channel. More stain
multiplies it, stains that absorb elsewhere mix its channels, exposure and white balance add to
it: one affine map holds them all. Two microscopes differ, to a first approximation, by such a map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

LARGEST_GAIN = 2.5
_RIDGE = 1e-4
_BLACK = 16
_MINUS_DENSITY = np.log((np.arange(256, dtype=np.float32) + 0.5) / 256.0)


@dataclass(frozen=True)
class AffineMap:
    """The map ``od' = matrix · od + offset``.

    Attributes:
        matrix: (3, 3) float64.
        offset: (3,) float64.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def then(self, after: AffineMap) -> AffineMap:
        """Return the map that applies this one and then ``after``."""
        return AffineMap(after.matrix @ self.matrix, after.matrix @ self.offset + after.offset)


IDENTITY = AffineMap(np.eye(3), np.zeros(3))


def apply(image: Image, change: AffineMap, light: Floats | None = None) -> Image:
    """Apply a map to the optical densities of an image.

    Args:
        image: (H, W, 3) uint8.
        change: the map.
        light: (H, W, 3) float32, added to the density: how uneven the light is.

    Returns:
        (H, W, 3) uint8, rounded.
    """
    density = cv2.LUT(image, _MINUS_DENSITY)
    changed = cv2.transform(density, np.column_stack([change.matrix, -change.offset]))
    if light is not None:
        changed = cv2.subtract(changed, light)
    # Below zero only where the value is: the absolute value that OpenCV takes is zero as well.
    return np.asarray(cv2.convertScaleAbs(cv2.exp(changed), alpha=256.0, beta=-0.5), np.uint8)


@dataclass(frozen=True)
class Stain:
    """Mean and covariance of an image's optical densities: its stain and light.

    Attributes:
        mean: (3,) float64.
        covariance: (3, 3) float64, positive definite.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def stain_of(image: Image) -> Stain:
    """Measure the stain of an image (H, W, 3) uint8, on 64 × 64 of its pixels at least.

    Black pixels are left out, unless most are: they are no part of the slide, but what a turned
    or padded image has outside.
    """
    step = max(1, min(image.shape[:2]) // 64)
    pixels = np.ascontiguousarray(image[::step, ::step]).reshape(-1, 1, 3)
    bright = pixels[pixels.max(2) > _BLACK].reshape(-1, 1, 3)
    chosen = bright if 2 * len(bright) > len(pixels) else pixels
    density = -cv2.LUT(chosen, _MINUS_DENSITY).reshape(-1, 3).astype(np.float64)
    mean = density.mean(0)
    centred = density - mean
    return Stain(mean, centred.T @ centred / len(density) + _RIDGE * np.eye(3))


def transfer(own: Stain, other: Stain, share: float) -> AffineMap:
    """Return the map that takes an image's stain towards that of another.

    Between two normal distributions it is the optimal one, which changes colours the least
    (Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", CVMP 2007).
    Its gain is limited to `LARGEST_GAIN`, so that the noise of a pale image stays noise.

    Args:
        own: stain of the image.
        other: stain it is to have.
        share: 0 leaves the image as it is, 1 gives it the other's stain.
    """
    root = _power(own.covariance, 0.5)
    inverse = _power(own.covariance, -0.5)
    whole = inverse @ _power(root @ other.covariance @ root, 0.5) @ inverse
    matrix = share * whole + (1 - share) * np.eye(3)
    matrix *= min(1.0, LARGEST_GAIN / float(np.linalg.norm(matrix, 2)))
    return AffineMap(matrix, share * other.mean + (1 - share) * own.mean - matrix @ own.mean)


def stains_by_domain(stains: Iterable[Stain], domains: Iterable[str]) -> list[list[Stain]]:
    """Return the stains of each domain, in the order in which the domains first appear."""
    found: dict[str, list[Stain]] = {}
    for stain, domain in zip(stains, domains, strict=True):
        found.setdefault(domain, []).append(stain)
    return list(found.values())


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    powers = np.maximum(values, 1e-12) ** exponent
    return np.asarray((vectors * powers) @ vectors.T, np.float64)
