"""The lines of a stage micrometer, and their distance in pixels.

Its lines are parallel, dark and evenly spaced. Their direction is that in which the picture's
gradients are shortest; along it the picture is averaged to a profile, whose dark places are the
lines. What is fitted is place against number: that a straight line goes through all of them is
what tells a micrometer from other stripes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.text import counted

LEAST_LINES = 4
LEAST_PERIOD = 6.0
"""Pixels between two lines, below which they are not told apart."""

LEAST_CONTRAST = 4.0
"""Grey values by which a line must be darker than what lies around it, in the mean along it."""

LEAST_STRAIGHT = 0.7
"""Share of the gradients, by their square, that must lie in one direction."""

MOST_RESIDUAL = 0.05
"""Distance of lines from their even places (root mean square), as a share of the period."""

_SHORT_SIDE = 768
_OF_THE_DARKEST = 0.3
_ANGLES = np.arange(-1.5, 1.51, 0.25)

Profile = NDArray[np.float64]


class NoLinesError(ValueError):
    """A picture that shows no micrometer; the text says what was found."""


@dataclass(frozen=True)
class Lines:
    """The lines of a micrometer in a picture.

    Attributes:
        period: distance between two of them, at right angles to them, in pixels.
        uncertainty: its standard error, in pixels.
        count: how many were found.
        angle: direction across them, in degrees from the x axis, -90 to 90.
    """

    period: float
    uncertainty: float
    count: int
    angle: float


def find_lines(image: NDArray[np.uint8]) -> Lines:
    """Find a stage micrometer's lines.

    Args:
        image: (H, W, 3) uint8 RGB.

    Raises:
        NoLinesError: there are none, too few, or they are not evenly spaced.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    factor = min(1.0, _SHORT_SIDE / min(grey.shape))
    if factor < 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        factor = grey.shape[1] / image.shape[1]
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), np.float32)
    angle = _direction(smooth)
    # The right direction is that whose profile has the sharpest lines.
    angle += max(_ANGLES, key=lambda turn: float(np.var(np.diff(_profile(smooth, angle + turn)))))
    places = _places(_profile(smooth, angle))
    period, error = _fitted(places)
    turned = (angle + 90) % 180 - 90
    return Lines(period / factor, error / factor, len(places), float(turned))


def _direction(grey: NDArray[np.float32]) -> float:
    """The direction in which grey values change most, in degrees.

    Raises:
        NoLinesError: there is no such direction.
    """
    dx = cv2.Sobel(grey, cv2.CV_32F, 1, 0).astype(np.float64)
    dy = cv2.Sobel(grey, cv2.CV_32F, 0, 1).astype(np.float64)
    xx, yy, xy = (float((a * b).mean()) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    apart = float(np.hypot(xx - yy, 2 * xy))
    if xx + yy < 1.0:
        raise NoLinesError("the picture is empty")
    if apart / (xx + yy) < LEAST_STRAIGHT:
        raise NoLinesError("what it shows has no one direction, as the lines of a micrometer have")
    return float(np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)))


def _profile(grey: NDArray[np.float32], angle: float) -> Profile:
    """The mean grey values along lines at right angles to a direction, one per pixel."""
    height, width = grey.shape
    turn = np.radians(angle)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across = (x - width / 2) * np.float32(np.cos(turn)) + (y - height / 2) * np.float32(
        np.sin(turn)
    )
    across -= across.min()
    low = across.astype(np.int64).ravel()
    share = (across.ravel() - low).astype(np.float64)
    values = grey.ravel().astype(np.float64)
    size = int(low.max()) + 2
    # Each pixel counts for the two places that it lies between.
    weight = np.bincount(low, 1 - share, size) + np.bincount(low + 1, share, size)
    total = np.bincount(low, values * (1 - share), size) + np.bincount(
        low + 1, values * share, size
    )
    enough = weight > 0.3 * weight.max()  # corners are averaged over few
    first, last = np.flatnonzero(enough)[[0, -1]]
    return np.asarray(total[first : last + 1] / weight[first : last + 1], np.float64)


def _places(profile: Profile) -> NDArray[np.float64]:
    """Where the lines lie: the centres of what is darker than what surrounds it.

    Raises:
        NoLinesError: there are too few.
    """
    window = max(31, len(profile) // 4) | 1
    around = cv2.medianBlur(profile.astype(np.float32).reshape(1, -1), 5).ravel()
    background = _upper_envelope(around.astype(np.float64), window)
    depth = background - profile
    limit = max(LEAST_CONTRAST, _OF_THE_DARKEST * float(np.percentile(depth, 99.5)))
    inside = np.concatenate(([False], depth > limit, [False]))
    starts = np.flatnonzero(inside[1:] & ~inside[:-1])
    ends = np.flatnonzero(~inside[1:] & inside[:-1])
    places = [
        float(np.average(np.arange(start, end), weights=depth[start:end]))
        for start, end in zip(starts, ends, strict=True)
    ]
    if len(places) > 1:  # what the edge cuts has its centre elsewhere
        edge = float(np.median(np.diff(places))) / 2
        places = [place for place in places if edge <= place <= len(profile) - 1 - edge]
    if len(places) < LEAST_LINES:
        found = counted(len(places), "whole dark line")
        raise NoLinesError(f"it shows {found}; {LEAST_LINES} are needed")
    return np.array(places)


def _upper_envelope(profile: Profile, window: int) -> Profile:
    """What is between the lines: the upper quarter of the surroundings of each place."""
    padded = np.pad(profile, window // 2, mode="reflect")
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[::8]
    steps = np.arange(len(profile))
    return np.interp(steps, steps[::8], np.percentile(views, 75, axis=1))


def _fitted(places: NDArray[np.float64]) -> tuple[float, float]:
    """Return the distance of evenly spaced places, and its standard error, in pixels.

    Raises:
        NoLinesError: they are not evenly spaced, or too close.
    """
    gaps = np.diff(places)
    period = float(np.median(gaps))
    for _ in range(3):  # a line that was not seen leaves a gap of two
        steps = np.rint(gaps / period)
        if (steps < 1).any():
            raise NoLinesError("its dark lines are not evenly spaced")
        numbers = np.concatenate(([0.0], np.cumsum(steps)))
        period, start = np.polyfit(numbers, places, 1)
    if period < LEAST_PERIOD:
        raise NoLinesError(f"its lines lie {period:.1f} pixels apart, too close to be told apart")
    residuals = places - (start + period * numbers)
    spread = float(np.sqrt((residuals**2).sum() / max(1, len(places) - 2)))
    if spread > MOST_RESIDUAL * period or (steps > 1).mean() > 0.3:
        raise NoLinesError("its dark lines are not evenly spaced")
    error = spread / float(np.sqrt(((numbers - numbers.mean()) ** 2).sum()))
    return float(period), error
