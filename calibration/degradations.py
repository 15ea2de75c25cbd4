"""Ways in which an image is less fit to be judged, each in several strengths.

On uint8 images (h, w, channels), a cell's or a whole one; lengths are relative to the shorter side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Side = Literal["low", "high"]

_WHITE: Final = 255.0
_NOISE_SEED: Final = 9


@dataclass(frozen=True)
class Degradation:
    """One way.

    Attributes:
        name: in words.
        unit: what its strengths are, in words.
        strengths: from slight to strong.
        seen_in: measures (see `qlvit_edge.fields.quality`) that it moves, and to which side.
        apply: makes a degraded copy of an image at a strength.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    seen_in: tuple[tuple[str, Side], ...]
    apply: Callable[[Image, float], Image]


def _defocus(image: Image, strength: float) -> Image:
    sigma = strength / 100 * min(image.shape[:2])
    return _shaped(cv2.GaussianBlur(image, (0, 0), sigma), image)


def _exposure(image: Image, strength: float) -> Image:
    return _by_channel(image, [strength] * 3)


def _gamma(image: Image, strength: float) -> Image:
    table = _WHITE * (np.arange(256) / _WHITE) ** strength
    return np.asarray((table + 0.5).astype(np.uint8)[image])


def _contrast(image: Image, strength: float) -> Image:
    """Shrink or stretch what is darker than the background, as a weak or strong stain does."""
    background = np.percentile(image, 95, axis=(0, 1))
    density = np.maximum(image, 1) / np.maximum(background, 1)
    return np.asarray(np.clip(background * density**strength + 0.5, 0, 255).astype(np.uint8))


def _towards_red(image: Image, strength: float) -> Image:
    return _by_channel(image, [1 + strength, 1.0, 1 - strength])


def _towards_blue(image: Image, strength: float) -> Image:
    return _by_channel(image, [1 - strength, 1.0, 1 + strength])


def _towards_green(image: Image, strength: float) -> Image:
    return _by_channel(image, [1 - strength, 1.0, 1 - strength])


def _towards_magenta(image: Image, strength: float) -> Image:
    return _by_channel(image, [1.0, 1 - strength, 1.0])


def _noise(image: Image, strength: float) -> Image:
    noise = np.random.default_rng(_NOISE_SEED).normal(0.0, strength, image.shape)
    return np.asarray(np.clip(image + noise + 0.5, 0, 255).astype(np.uint8))


def _by_channel(image: Image, factors: list[float]) -> Image:
    values = np.arange(256)[:, None] * np.array(factors[: image.shape[2]])
    tables = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    parts = [cv2.LUT(image[:, :, n], tables[:, n]) for n in range(image.shape[2])]
    return _shaped(cv2.merge(parts), image)


def _shaped(result: object, image: Image) -> Image:
    """OpenCV drops the axis of a single channel."""
    return np.asarray(result, np.uint8).reshape(image.shape)


_TINTS: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)

DEGRADATIONS: Final = (
    Degradation(
        "defocus", "% of the short side, sigma of the blur", (0.5, 1, 1.5, 2, 2.5, 3.5, 5),
        (("sharpness", "low"),), _defocus,
    ),
    Degradation(
        "noise", "grey values, standard deviation", (3, 6, 10, 15, 22, 30),
        (("noise", "high"),), _noise,
    ),
    Degradation(
        "less light", "times the light", (0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2),
        (("light", "low"),), _exposure,
    ),
    Degradation(
        "more light", "times the light, cut off at white", (1.05, 1.1, 1.2, 1.35, 1.5, 1.75),
        (("clipped", "high"), ("light", "high")), _exposure,
    ),
    Degradation(
        "brighter gamma", "exponent", (0.85, 0.7, 0.6, 0.5, 0.4),
        (("stain", "low"), ("light", "high")), _gamma,
    ),
    Degradation(
        "darker gamma", "exponent", (1.2, 1.5, 1.8, 2.2, 2.6),
        (("light", "low"), ("stain", "high")), _gamma,
    ),
    Degradation(
        "weaker stain", "times the optical density", (0.8, 0.65, 0.5, 0.4, 0.3),
        (("stain", "low"),), _contrast,
    ),
    Degradation(
        "stronger stain", "times the optical density", (1.2, 1.5, 1.8, 2.2, 2.6),
        (("stain", "high"),), _contrast,
    ),
    Degradation(
        "redder light", "share that red gains and blue loses", _TINTS,
        (("warmth", "high"),), _towards_red,
    ),
    Degradation(
        "bluer light", "share that blue gains and red loses", _TINTS,
        (("warmth", "low"),), _towards_blue,
    ),
    Degradation(
        "greener light", "share that red and blue lose", _TINTS,
        (("tint", "high"),), _towards_green,
    ),
    Degradation(
        "pinker light", "share that green loses", _TINTS,
        (("tint", "low"),), _towards_magenta,
    ),
)  # fmt: skip
"""Each strength is far enough from the next to be told apart on a few hundred images."""
