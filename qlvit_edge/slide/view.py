"""What is kept of a frame to recognise its place: a small picture of the stain, and its bodies.

Both are relative to the frame itself: the logarithm turns a stronger lamp into an added constant,
and what varies slowly over the frame (uneven light, a vignette: fixed to the camera, not to the
slide) is taken out. Pixels without light are masked.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""(h, w) float32."""

SHORT_SIDE = 96
"""Short side, in pixels, of the small picture: a fifth of 480."""

SLOW = 12.0
"""Standard deviation, in small pixels, of what counts as slow and is taken out."""

BODY = 2.0
"""Standard deviation, in small pixels, over which a stained body is smoothed before its summit."""

MOST_BODIES = 80
"""Bodies kept of one frame, the strongest."""

LEAST_BODY = 0.03
"""Least height of a body above its surroundings, in optical density (natural logarithm)."""

DARKEST_LIT = 0.15
"""Pixels below this share of the frame's bright ones have no light."""

LEAST_STAIN = 0.02
"""Standard deviation of the stain below which nothing is in the frame but noise."""

LEAST_BODIES = 3
"""With fewer bodies a frame's place is not to be recognised."""


@dataclass(frozen=True)
class View:
    """A frame as the slide remembers it.

    Attributes:
        stain: (h, w) float32, optical density without what varies slowly; 0 where masked.
        lit: (h, w) float32, 1 where there is light, else 0.
        bodies: (n, 2) float32, (x, y) of stained bodies in small pixels, strongest first.
        scale: frame pixels per small pixel.
        size: (width, height) of the frame.
        sharpness: squared gradient over one step, by that over two, at half the frame's size;
            0.25 where all is smooth.
    """

    stain: Plane
    lit: Plane
    bodies: Plane
    scale: float
    size: tuple[int, int]
    sharpness: float

    @property
    def blank(self) -> bool:
        """Whether too little is in the frame for its place to be recognised."""
        return len(self.bodies) < LEAST_BODIES or float(self.stain.std()) < LEAST_STAIN


def view_of(image: NDArray[np.uint8]) -> View:
    """Look at a frame.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    scale = max(1.0, min(height, width) / SHORT_SIDE)
    size = max(1, round(width / scale)), max(1, round(height / scale))
    green = half_green(image)
    small = cv2.resize(green, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    bright = max(8.0, float(np.percentile(small[::4, ::4], 95)))
    lit = np.asarray(small > DARKEST_LIT * bright, np.float32)
    if not lit.all():
        lit = np.asarray(cv2.erode(lit, np.ones((5, 5), np.uint8)), np.float32)
    density = -np.log(np.maximum(small, 1.0) / bright) * lit
    weight = np.maximum(_smooth(lit, SLOW), 1e-3)
    stain = np.asarray((density - _smooth(density, SLOW) / weight) * lit, np.float32)
    sharp = sharpness_of(green)
    return View(stain, lit, _bodies(stain, lit), width / size[0], (width, height), sharp)


def half_green(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the green of (H, W, 3) uint8 at half its size, (H / 2, W / 2) uint8."""
    green = cv2.extractChannel(image, 1)
    size = max(1, green.shape[1] // 2), max(1, green.shape[0] // 2)
    return np.asarray(cv2.resize(green, size, interpolation=cv2.INTER_AREA), np.uint8)


def sharpness_of(green: NDArray[np.uint8]) -> float:
    """Return how sharp a picture at half size is, see `View.sharpness`; 0 where it is flat."""
    if min(green.shape) < 4:
        return 0.0
    near, far = (
        cv2.norm(green[:, step:], green[:, :-step], cv2.NORM_L2SQR)
        + cv2.norm(green[step:], green[:-step], cv2.NORM_L2SQR)
        for step in (1, 2)
    )
    return float(near / far) if far > green.size else 0.0


def _bodies(stain: Plane, lit: Plane) -> Plane:
    """Summits of the smoothed stain, with a sub-pixel place by the parabola through neighbours."""
    smooth = _smooth(stain, BODY)
    around = cv2.dilate(smooth, np.ones((7, 7), np.uint8))
    summit = (smooth == around) & (smooth > LEAST_BODY) & (lit > 0)
    rim = 3
    summit[:rim], summit[-rim:], summit[:, :rim], summit[:, -rim:] = False, False, False, False
    ys, xs = np.nonzero(summit)
    order = np.argsort(-smooth[ys, xs], kind="stable")[:MOST_BODIES]
    ys, xs = ys[order], xs[order]
    middle = smooth[ys, xs]
    across = parabola(smooth[ys, xs - 1], middle, smooth[ys, xs + 1])
    down = parabola(smooth[ys - 1, xs], middle, smooth[ys + 1, xs])
    return np.stack([xs + across, ys + down], 1).astype(np.float32)


def parabola(before: Plane, middle: Plane, after: Plane) -> Plane:
    """Return where, from -0.5 to 0.5, the parabola through three equidistant values peaks."""
    bend = before - 2 * middle + after
    safe = np.where(np.abs(bend) < 1e-12, -1.0, bend)
    return np.asarray(np.clip((before - after) / (2 * safe), -0.5, 0.5), np.float32)


def _smooth(plane: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
