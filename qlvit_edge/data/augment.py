"""Training-time augmentation on uint8 RGB images.

The paper's part: rotation by up to ±15° that keeps the size, then one automatic operation
of random strength (TrivialAugment, Müller & Hutter 2021; without the operations that
invert a stain). Ours: mirroring and quarter turns, small shifts and zooms, and a stain and
illumination jitter in optical density, because another microscope has another white
balance. Each sample draws from its own generator, so an epoch is reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
ROTATION_DEGREES = 15.0
SHIFT = 0.06
CROP_SIDES = (1.1, 1.9)
WHOLE_ZOOM = (0.9, 1.1)


def geometry(
    image: Image,
    centre: tuple[float, float],
    extent: tuple[float, float],
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    any_angle: bool,
    beyond: int = cv2.BORDER_REFLECT_101,
) -> Image:
    """Cut a turned, mirrored, shifted view out of ``image`` in one interpolation.

    Args:
        image: (H, W, 3) uint8.
        centre: (x, y) of the view in pixels.
        extent: (width, height) of the view in pixels of ``image``.
        size: (height, width) of the result.
        rng: source of randomness.
        any_angle: turn by any angle (a single cell) instead of ±15° and quarter turns.
        beyond: OpenCV's number for how the image goes on outside.

    Returns:
        (height, width, 3) uint8.
    """
    limit = 180.0 if any_angle else ROTATION_DEGREES
    angle = math.radians(rng.uniform(-limit, limit) + 90.0 * rng.integers(4))
    flip = rng.choice((-1.0, 1.0))
    shift = rng.uniform(-SHIFT, SHIFT, 2) * extent
    height, width = size
    scale = np.array([extent[0] / width, extent[1] / height])
    turn = np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ) * np.array([flip, 1.0])
    # Turned with the view stretched to a square: a quarter turn of a long view fills it again.
    sides = np.array([width, height])
    turn = turn * (sides[:, None] / sides)
    # Output pixel → input pixel: centre + extent-scaled, turned offset from the middle.
    matrix = np.diag(scale) @ turn
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = np.array(centre) + shift - matrix @ middle
    warped = cv2.warpAffine(
        image,
        np.column_stack([matrix, offset]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=beyond,
    )
    return np.asarray(warped, np.uint8)


def _blend(image: Image, other: NDArray[np.float32], amount: float) -> Image:
    mixed = image.astype(np.float32) * (1 + amount) - other * amount
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _brightness(image: Image, amount: float) -> Image:
    return _blend(image, np.zeros((1, 1, 3), np.float32), amount)


def _contrast(image: Image, amount: float) -> Image:
    return _blend(image, np.full((1, 1, 3), image.mean(), np.float32), amount)


def _saturation(image: Image, amount: float) -> Image:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return _blend(image, grey[..., None], amount)


def _sharpness(image: Image, amount: float) -> Image:
    return _blend(image, cv2.blur(image, (3, 3)).astype(np.float32), amount)


def _hue(image: Image, amount: float) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(amount * 18)) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _gamma(image: Image, amount: float) -> Image:
    table = 255.0 * (np.arange(256) / 255.0) ** math.exp(amount)
    return (table + 0.5).astype(np.uint8)[image]


def _focus(image: Image, amount: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.3 + abs(amount) * 1.5), np.uint8)


def _posterise(image: Image, amount: float) -> Image:
    return image & np.uint8(0xFF << round(abs(amount) * 3) & 0xFF)


def _auto_contrast(image: Image, amount: float) -> Image:
    low = image.min((0, 1)).astype(np.float32)
    span = np.maximum(image.max((0, 1)) - low, 1.0)
    stretched = (image - low) * (255.0 / span)
    return _blend(image, stretched, -abs(amount))


def _shear(image: Image, amount: float) -> Image:
    height, width = image.shape[:2]
    slope = 0.2 * amount
    matrix = np.array([[1.0, slope, -slope * height / 2], [0.0, 1.0, 0.0]])
    warped = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(warped, np.uint8)


def _identity(image: Image, amount: float) -> Image:
    return image


AUTOMATIC: tuple[Callable[[Image, float], Image], ...] = (
    _identity,
    _brightness,
    _contrast,
    _saturation,
    _sharpness,
    _hue,
    _gamma,
    _focus,
    _posterise,
    _auto_contrast,
    _shear,
)


def automatic(image: Image, rng: np.random.Generator) -> Image:
    """Apply one operation of `AUTOMATIC` with a strength drawn from [-0.6, 0.6]."""
    operation = AUTOMATIC[rng.integers(len(AUTOMATIC))]
    return operation(image, rng.uniform(-0.6, 0.6))


def stain_jitter(image: Image, rng: np.random.Generator) -> Image:
    """Vary stain strength, stain hue and illumination in optical density.

    ``od' = M od + b`` with M near the identity (each stain absorbs a little more or less
    in each channel) and b an exposure and white-balance shift per channel.
    """
    mixing = np.eye(3) * rng.uniform(0.75, 1.3) + rng.normal(0.0, 0.05, (3, 3))
    exposure = rng.normal(0.0, 0.06) + rng.normal(0.0, 0.04, 3)
    density = _OPTICAL_DENSITY[image] @ mixing.T.astype(np.float32) + exposure.astype(np.float32)
    return np.asarray(np.clip(256.0 * np.exp(-density) - 0.5, 0, 255), np.uint8)


_OPTICAL_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 0.5) / 256.0)
