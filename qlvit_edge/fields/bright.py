"""Find bright cells on the dark ground of a fluorescence field.

The ground is taken from the field itself, wherever it is lit unevenly, and so are its noise and
the size of the cells: the commonest distance from a bright pixel's middle to the dark. Light is
compared by its logarithm, so that pale cells count beside bright ones. Cells that touch are parted
where the bright region between them is narrow.

What a cell shows only in a few spots, far apart, is not outlined as one cell.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.finder import Cell, shrunk
from qlvit_edge.fields.nuclei import disc_of

Map = NDArray[np.float32]

WORKING_SIDE: Final = 480
"""Short side, in pixels, of the copy that is searched."""

LARGEST: Final = 0.5
"""Largest diameter of a cell as a share of the short side."""

LEAST_RADIUS: Final = 4.0
"""Least radius of a cell, in pixels of the searched copy."""

LEAST_SIGNAL: Final = 5.0
"""Light above the ground, in spreads of the noise, that a cell has at least."""

RIM: Final = 1.08
"""A cell's diameter by twice the commonest distance to the dark."""

LEAST_SUMMIT: Final = 0.45
"""Least distance to the dark in a cell's middle, in radii."""

APART: Final = 0.55
"""Least distance between two cells' middles, in diameters."""

FARTHEST: Final = 1.7
"""Farthest that a cell reaches from its middle, in radii."""

SMALLEST: Final = 0.25
"""Least area of a cell, in discs of the usual one."""

MOST_CELLS: Final = 300
"""Cells given for one frame at most, the largest ones."""

DARK_SHARE: Final = 0.5
"""The ground is darker than this share of the way from the darkest to the brightest light."""

MOST_BRIGHT: Final = 0.7
"""At most this share of a frame is nearer to its brightest than to its darkest light."""


def is_dark_field(image: NDArray[np.uint8]) -> bool:
    """Whether a picture shows light on a dark ground, or nothing.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    light = np.max(image[::4, ::4], axis=2)
    dark, bright = (float(value) for value in np.percentile(light, (1, 99.5)))
    if bright - dark < 8:
        return dark < 128
    share = float(np.mean(light > dark + DARK_SHARE * (bright - dark)))
    # A smear's ground is the brightest thing in it, and stain never makes it black.
    return share < MOST_BRIGHT and float(np.percentile(light, 20)) < 0.4 * bright


def find_bright_cells(image: NDArray[np.uint8], *, cell_size: float | None = None) -> list[Cell]:
    """Find the bright cells of a dark field.

    Args:
        image: (H, W, 3) uint8 RGB; a pixel is as bright as its brightest channel.
        cell_size: diameter of a usual cell as a share of the frame's short side; None: from the
            field's own cells.

    Returns:
        The cells, largest first; empty where nothing is brighter than the ground's noise.
    """
    small = shrunk(image, min(1.0, WORKING_SIDE / min(image.shape[:2])))
    bright = _bright(np.max(small, axis=2).astype(np.float32))
    if bright is None:
        return []
    short = min(bright.shape)
    radius = cell_size * short / 2 if cell_size is not None else _usual_radius(bright)
    if radius is None:
        return []
    regions = _parted(bright, radius)
    factors = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
    found = []
    for label in range(1, int(regions.max()) + 1):
        ys, xs = np.nonzero(regions == label)
        if len(xs) >= SMALLEST * np.pi * radius**2:
            found.append(_cell(xs, ys, bright.shape, factors))
    return sorted(found, key=lambda cell: (-cell.area, cell.y, cell.x))[:MOST_CELLS]


def _bright(light: Map) -> NDArray[np.uint8] | None:
    """Mask of what is brighter than the ground; None where nothing is."""
    steps = np.abs(np.diff(light, axis=1))
    smooth = np.asarray(cv2.GaussianBlur(light, (0, 0), 2.0), np.float32)
    ground = _ground(smooth)
    above = smooth - ground
    dark = above <= np.percentile(above, 30)
    own = steps[dark[:, 1:]]
    noise = max(0.35, 1.05 * float(np.median(own)) / 4) if own.size else 0.35
    signal = np.log1p(np.maximum(above, 0) / (LEAST_SIGNAL * noise))
    top = float(np.percentile(signal, 99.5))
    if top < 2 * np.log(2):
        return None
    scaled = np.minimum(signal * (255 / top), 255).astype(np.uint8)
    best, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    limit = max(float(best) * top / 255, float(np.log(2)))
    return _filled(np.asarray(signal > limit, np.uint8))


def _ground(smooth: Map) -> Map:
    """The light without cells: the darkest of a wide neighbourhood, itself smoothed."""
    step = 8
    size = max(1, smooth.shape[1] // step), max(1, smooth.shape[0] // step)
    coarse = cv2.resize(smooth, size, interpolation=cv2.INTER_AREA)
    wide = disc_of(LARGEST * min(size) / 2)
    opened = cv2.morphologyEx(coarse, cv2.MORPH_OPEN, wide, borderType=cv2.BORDER_REPLICATE)
    even = cv2.GaussianBlur(opened, (0, 0), max(1.0, min(size) / 10))
    shape = smooth.shape[1], smooth.shape[0]
    return np.asarray(cv2.resize(even, shape, interpolation=cv2.INTER_LINEAR), np.float32)


def _filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill holes smaller than a cell: of rings and of spots."""
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc_of(3))
    contours, tree = cv2.findContours(closed, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    most = (0.12 * min(mask.shape)) ** 2
    for place, contour in enumerate(contours):
        if tree[0][place][3] >= 0 and cv2.contourArea(contour) < most:
            cv2.drawContours(closed, [contour], -1, 1, -1)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, disc_of(3)), np.uint8)


def _distance(bright: NDArray[np.uint8]) -> Map:
    """Distance to the dark; what the frame's edge cuts goes on beyond it."""
    room = 8
    padded = cv2.copyMakeBorder(bright, room, room, room, room, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[room:-room, room:-room]
    return np.ascontiguousarray(distance, np.float32)


def _usual_radius(bright: NDArray[np.uint8]) -> float | None:
    """The commonest distance to the dark in the middle of a region, weighted by area."""
    distance = _distance(bright)
    around = cv2.dilate(distance, np.ones((9, 9), np.uint8))
    heights = distance[(distance == around) & (distance >= LEAST_RADIUS)].astype(np.float64)
    heights = np.sort(heights[heights < LARGEST * min(bright.shape) / 2])[-400:]
    if not heights.size:
        return None
    logs = np.log(heights)
    weights = (heights**2 * np.exp(-0.5 * ((logs[:, None] - logs) / 0.2) ** 2)).sum(1)
    return float(RIM * heights[weights.argmax()])


def _parted(bright: NDArray[np.uint8], radius: float) -> NDArray[np.int32]:
    """Number the cells, 1 and on; 0 is ground."""
    distance = np.asarray(cv2.GaussianBlur(_distance(bright), (0, 0), 0.12 * radius), np.float32)
    around = cv2.dilate(distance, disc_of(APART * radius))
    ys, xs = np.nonzero((distance == around) & (distance > LEAST_SUMMIT * radius))
    order = np.argsort(-distance[ys, xs], kind="stable")
    middles: list[tuple[int, int]] = []
    for x, y in zip(xs[order].tolist(), ys[order].tolist(), strict=True):
        if all(np.hypot(x - u, y - v) >= 2 * APART * radius for u, v in middles):
            middles.append((x, y))
    if not middles:
        return np.zeros(bright.shape, np.int32)
    seeds = np.ones(bright.shape, np.uint8)
    for x, y in middles:
        seeds[y, x] = 0
    away, nearest = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    regions = np.asarray(nearest, np.int32)
    regions[(bright == 0) | (np.asarray(away) > FARTHEST * radius)] = 0
    return regions


def _cell(
    xs: NDArray[np.intp], ys: NDArray[np.intp], shape: tuple[int, ...], factors: tuple[float, float]
) -> Cell:
    """The cell of some pixels of the searched copy."""
    height, width = shape[:2]
    left, top = int(xs.min()), int(ys.min())
    right, bottom = int(xs.max()) + 1, int(ys.max()) + 1
    x, y = round(left * factors[0]), round(top * factors[1])
    return Cell(
        x,
        y,
        round(right * factors[0]) - x,
        round(bottom * factors[1]) - y,
        float(len(xs) * factors[0] * factors[1]),
        cut=left == 0 or top == 0 or right == width or bottom == height,
    )
