"""What lens, sensor and file do to a view: light, focus, resolution, colour, noise, JPEG.

Each function takes the strength that was drawn for it; who draws is `qlvit_edge.data.looks`.
Views are (H, W, 3) uint8.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

_GREY = np.full((3, 3), 1 / 3)
_LUMINANCE = np.tile((0.299, 0.587, 0.114), (3, 1))
_AXIS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)


@lru_cache(maxsize=8)
def _coordinates(size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return x and y of every pixel, each from −1 to 1."""
    height, width = size
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    return x.astype(np.float32), y.astype(np.float32)


def light_gradient(size: tuple[int, int], angle: float, fall: float) -> Floats:
    """Return the optical density of light that falls off towards one side.

    Args:
        size: (height, width) of the view.
        angle: of the direction in which it grows, in radians.
        fall: by which share it is brighter at that edge and darker at the other; below 0.7.

    Returns:
        (height, width, 3) float32, to be added to the view's optical density.
    """
    x, y = _coordinates(size)
    light = -np.log1p(fall * math.cos(angle) * x + fall * math.sin(angle) * y)
    return np.repeat(light[..., None], 3, axis=2)


def defocus(image: Image, sigma: float) -> Image:
    """Blur by a Gaussian of ``sigma`` pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def lower_resolution(image: Image, share: float) -> Image:
    """Take the view at ``share`` of its pixels per side, and enlarge it again."""
    height, width = image.shape[:2]
    size = (max(1, round(width * share)), max(1, round(height * share)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def sharpen(image: Image, amount: float) -> Image:
    """Add ``amount`` times the difference from the view blurred over 3 × 3 pixels."""
    blurred = cv2.blur(image, (3, 3))
    return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0.0), np.uint8)


def saturation(amount: float) -> NDArray[np.float64]:
    """Return the colour matrix (3, 3) that multiplies the distance from grey by 1 + amount."""
    return (1 + amount) * np.eye(3) - amount * _LUMINANCE


def hue(angle: float) -> NDArray[np.float64]:
    """Return the colour matrix (3, 3) that turns colours about the grey axis, in radians."""
    cosine = math.cos(angle)
    return cosine * np.eye(3) + math.sin(angle) * _AXIS + (1 - cosine) * _GREY


def contrast(image: Image, share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factors (3,) and offsets (3,) that stretch each channel towards 0 … 255.

    Args:
        image: what is to be stretched.
        share: 1 stretches wholly, as automatic contrast of a camera does.
    """
    flat = image.reshape(-1, 3)
    low = flat.min(0).astype(np.float64)
    factors = 255.0 / np.maximum(flat.max(0) - low, 1.0)
    return share * factors + (1 - share), -share * factors * low


def recolour(image: Image, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Image:
    """Apply a colour matrix (3, 3) and an offset (3,) to values, clipped to 0 … 255."""
    return np.asarray(cv2.transform(image, np.column_stack([matrix, offset])), np.uint8)


def add_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Add normal noise of ``sigma`` grey levels, its own in each channel and pixel."""
    noise = rng.standard_normal(image.shape, np.float32)
    noise *= sigma
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def as_jpeg(image: Image, quality: int) -> Image:
    """Encode as JPEG and decode again; ``quality`` from 1 to 100."""
    bgr = image[..., ::-1]
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def grey(image: Image) -> Image:
    """Return the view as a camera without colour shows it: three equal channels."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
