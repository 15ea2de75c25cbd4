"""Whether an image is fit to be judged: how sharp, how light, of what colour and stain.

Measures of a network's input, each an integer and the same on every device. From which value on an
image is not fit is found per model (`qlvit_edge.calibration.quality`) and stands in its file; here
is only the comparison. `docs/quality.md` has the formulas and what they are worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.appearance import appearance

QUALITY: Final = ("sharpness", "noise", "light", "clipped", "warmth", "tint", "stain")
"""Names of the measures, in the order in which an image is tested.

- sharpness: squared gradient of green over two pixels, per that over four, in ten-thousandths:
  from 2500, all smooth;
- noise: squared step between neighbours in green beyond that of a smooth image, in hundredths of
  the noise's variance;
- light: the background's brightest channel, 0 to 255;
- clipped: values that are 255, of all channels, in thousandths;
- warmth: the background's red relative to its blue, in hundredths of a doubling;
- tint: its green relative to red and blue together, in the same;
- stain: how much darker in green the darkest twentieth is than the background, in hundredths of a
  halving.
"""

CUT: Final = "cut by the frame's edge"
"""Why a cell is not judged of which the frame shows a part."""

_WORDS: Final = {
    "sharpness": ("out of focus", "too sharp"),
    "noise": ("too smooth", "too noisy"),
    "light": ("too dark", "too bright"),
    "clipped": ("too bright", "too bright"),
    "warmth": ("off in colour", "off in colour"),
    "tint": ("off in colour", "off in colour"),
    "stain": ("stain too weak", "stain too strong"),
}

_DOUBLINGS: Final = tuple(int(100 * np.log2(value + 1) + 0.5) for value in range(256))
"""100 times the base-2 logarithm of a byte and one."""

_WHITE: Final = 255
_LEAST_GRADIENT: Final = 81
"""Squared step of sums of nine, one grey value each, below which nothing is there to be sharp."""


class Limited(Protocol):
    """A measure with the range in which an image is fit to be judged."""

    @property
    def name(self) -> str:
        """Of the measure."""

    @property
    def fit_low(self) -> float | None:
        """The lowest value; None for no such bound."""

    @property
    def fit_high(self) -> float | None:
        """The highest."""


def image_measures(pixels: NDArray[np.uint8]) -> dict[str, int]:
    """Measure a network's input: its appearance, and what `QUALITY` names.

    Args:
        pixels: (h, w, channels) uint8; grey counts as all three colours.
    """
    look = appearance(pixels)
    sharpness, noise = _detail(np.ascontiguousarray(pixels[:, :, pixels.shape[2] // 2]))
    light = [look[f"light {colour}"] for colour in ("red", "green", "blue")]
    red, green, blue = (_DOUBLINGS[value] for value in light)
    return look | {
        "sharpness": sharpness,
        "noise": noise,
        "light": max(light),
        "clipped": _clipped(pixels),
        "warmth": red - blue,
        "tint": 2 * green - red - blue,
        "stain": green - _DOUBLINGS[look["dark green"]],
    }


def unfit(measures: Mapping[str, int], limits: Iterable[Limited]) -> str:
    """Say why an image is not fit to be judged; "" where it is.

    Args:
        measures: of the image, by name.
        limits: the ranges, tested in this order; a measure that was not taken is passed over.

    Returns:
        Such as ``"out of focus: sharpness 12, judged from 18"``.
    """
    for limit in limits:
        value = measures.get(limit.name)
        if value is None:
            continue
        low, high = _WORDS.get(limit.name, ("out of range", "out of range"))
        if limit.fit_low is not None and value < limit.fit_low:
            return f"{low}: {limit.name} {value}, judged from {limit.fit_low:g}"
        if limit.fit_high is not None and value > limit.fit_high:
            return f"{high}: {limit.name} {value}, judged up to {limit.fit_high:g}"
    return ""


def kind_of(reason: str | None) -> str:
    """Return a reason without its figures: what is counted; "" of none."""
    return (reason or "").partition(":")[0]


def _detail(green: NDArray[np.uint8]) -> tuple[int, int]:
    """Sharpness and noise of one channel (h, w).

    The squared gradient of green is the best of 28 measures of focus on blood films. Set against
    itself over twice the distance, it does not depend on what lies in an image and how strongly
    that is stained. Sums over 3 × 3 pixels first: a sensor's noise is not to pass for detail.
    All integers far below 2**53, so exact in OpenCV's float64.
    """
    sums = cv2.boxFilter(green, cv2.CV_16U, (3, 3), normalize=False)
    few = np.ascontiguousarray(sums[::2, ::2])
    near, far = (
        int(cv2.norm(few[:, step:], few[:, :-step], cv2.NORM_L2SQR))
        + int(cv2.norm(few[step:], few[:-step], cv2.NORM_L2SQR))
        for step in (1, 2)
    )
    # Of a smooth image a step over one pixel is half of one over two, a sum nine of its pixels,
    # and there are half as many squared steps (one direction of two, four times the pixels). Of
    # noise a squared step is two variances.
    single = int(cv2.norm(green[:, 1:], green[:, :-1], cv2.NORM_L2SQR))
    noise = max(162 * single - near, 0) * 100 // (2 * 162 * green.size)
    sharpness = near * 10_000 // max(far, 1) if near >= _LEAST_GRADIENT * few.size else 0
    return sharpness, noise


def _clipped(pixels: NDArray[np.uint8]) -> int:
    return int(np.count_nonzero(pixels == _WHITE)) * 1000 // pixels.size
