"""The red cells of a field, also where they touch, overlap or lie on the border.

Every outline points to a middle: where stain begins, its slope leads inwards. Each point of an
outline votes for the middles that a red cell's radius away could have, and where enough votes
meet is a cell. Cells that overlap keep most of their outlines, a pale centre does no harm, and a
cell of which the frame shows a part needs the votes of that part only. The cell with most votes is
taken first, and its outline votes for no other.

White cells and what is stained like nuclei have no vote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.density import Map, RedStain
from qlvit_edge.fields.scale import NOT_RED

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

LEAST_SLOPE: Final = 0.06
"""Least slope of an outline, in densities of a red cell per pixel of the searched copy."""

FULL_SLOPE: Final = 0.15
"""From this slope on a point has a whole vote."""

DEEPEST: Final = 1.3
"""Density, in those of a red cell, above which nothing is told apart: nuclei do not shout."""

RADII: Final = tuple(0.34 + 0.04 * step for step in range(8))
"""Radii that are voted for, in diameters of the usual red cell."""

BLUR: Final = 0.07
"""By so much, in diameters, votes may miss each other."""

LEAST_VOTES: Final = 1.75
"""Least votes of a cell, in those of a round cell's whole outline at one radius."""

LEAST_SHOWN: Final = 0.55
"""A cell of which the frame shows less than this share is judged as if it showed so much."""

BEYOND: Final = 0.25
"""So far outside the frame, in diameters, the middle of a cell may lie that is seen in part."""

APART: Final = 0.5
"""Least distance of two middles in diameters."""

OWN_OUTLINE: Final = (0.2, 0.8)
"""Distances from its middle at which an outline is a cell's own, in diameters."""

FARTHEST_VOTE: Final = 1.7
"""Own outlines vote no farther from the middle, in diameters: out, on, and the blur."""

OWN_SLOPE: Final = 0.65
"""Least cosine between an own outline's slope and the way to the middle."""

LEAST_STAIN: Final = 0.25
"""Least mean density around a middle, in those of a red cell."""

WHITE_SHARE: Final = 0.9
"""Share of a white cell's box, from its middle, that is barred: its rim is shared with red ones."""

FACING: Final = 0.3
"""Least points of an outline, per pixel of diameter, that say how far a cell reaches there."""

RIM: Final = 0.08
"""A cell reaches so far beyond its steepest outline, in diameters."""

REACH: Final = (0.4, 0.6)
"""Least and most distance of an outline from its cell's middle, in diameters."""

SEEN_WHOLE: Final = 1.5
"""Points of an outline, per pixel of diameter, from which its radius is measured."""

SUREST: Final = 15
"""Cells, the surest ones, whose radii measure the diameter anew."""

RADIUS_OF_OUTLINE: Final = 0.4725
"""Radius of the steepest outline, in diameters."""

AS_MEASURED: Final = 0.04
"""By so much, as a logarithm, the diameter may differ from what the outlines say."""

MOST_OFF: Final = 1.25
"""By this factor at most the outlines correct the diameter."""

MOST: Final = 1500
"""Red cells counted in one frame at most; keeps odd frames affordable."""


@dataclass(frozen=True)
class _Outlines:
    """Points at which stain begins: places, unit slopes (inwards) and votes, each (N,)."""

    xs: NDArray[np.intp]
    ys: NDArray[np.intp]
    across: Map
    down: Map
    votes: Map


def red_cell_boxes(density: Map, red: RedStain, diameter: float, white: Sequence[Box]) -> list[Box]:
    """Return the boxes of red cells, surest first; some reach beyond the field.

    Args:
        density: (H, W, 3), see `qlvit_edge.fields.density.optical_density`.
        red: what red cells look like in it.
        diameter: of a red cell, in pixels; where the outlines measure otherwise they are right.
        white: boxes of the white cells in it.
    """
    stain = np.minimum(density.sum(axis=2) / np.float32(sum(red.colour)), np.float32(DEEPEST))
    covered = ellipses(stain.shape, white, WHITE_SHARE)
    outlines = _outlines(stain, covered | np.asarray(red.excess(density) >= NOT_RED, np.uint8))
    votes = _Votes(stain, covered, outlines, diameter)
    boxes = _elected(votes)
    factor = votes.correction()
    if abs(math.log(factor)) > AS_MEASURED:
        boxes = _elected(_Votes(stain, covered, outlines, diameter * factor))
    return boxes


def ellipses(shape: tuple[int, ...], boxes: Sequence[Box], share: float) -> NDArray[np.uint8]:
    """Return a mask (H, W), 1 in the ellipses that span a share of each box, from its middle."""
    mask = np.zeros(shape[:2], np.uint8)
    for left, top, right, bottom in boxes:
        middle = round((left + right) / 2), round((top + bottom) / 2)
        axes = max(1, round(share * (right - left) / 2)), max(1, round(share * (bottom - top) / 2))
        cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    return mask


def _outlines(stain: Map, barred: NDArray[np.uint8]) -> _Outlines:
    across = np.asarray(cv2.Sobel(stain, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8), np.float32)
    down = np.asarray(cv2.Sobel(stain, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8), np.float32)
    slope: Map = np.hypot(across, down)
    steepest = slope >= 0.8 * np.asarray(cv2.dilate(slope, np.ones((3, 3))), np.float32)
    ys, xs = np.nonzero(steepest & (slope > LEAST_SLOPE) & (barred == 0))
    steep = slope[ys, xs]
    votes = np.minimum(steep / np.float32(FULL_SLOPE), np.float32(1))
    return _Outlines(xs, ys, across[ys, xs] / steep, down[ys, xs] / steep, votes)


class _Votes:
    """How many votes each place has, of the outlines that belong to no cell yet."""

    def __init__(
        self, stain: Map, white: NDArray[np.uint8], outlines: _Outlines, diameter: float
    ) -> None:
        self.room = int(0.8 * diameter) + 1
        self.diameter = diameter
        height, width = stain.shape
        self.shape = height + 2 * self.room, width + 2 * self.room
        self._outlines = outlines
        self._radii: list[float] = []
        self._free = np.ones(len(outlines.xs), bool)
        radii = np.array(RADII, np.float32) * diameter
        columns = (outlines.xs[:, None] + outlines.across[:, None] * radii).round()
        rows = (outlines.ys[:, None] + outlines.down[:, None] * radii).round()
        self._columns: NDArray[np.int32] = columns.astype(np.int32) + np.int32(self.room)
        self._rows: NDArray[np.int32] = rows.astype(np.int32) + np.int32(self.room)
        whole = np.pi * diameter / (2 * np.pi * (BLUR * diameter) ** 2)
        self._weights = 1 / (whole * self._shown(height, width))
        self._weights[~self._allowed(stain, white)] = 0
        everything = slice(0, self.shape[0]), slice(0, self.shape[1])
        self.scores = self._cast(np.arange(len(outlines.xs)), everything) * self._weights

    def take(self, row: int, column: int) -> Box:
        """Make a place that of a cell: its outline votes no more, none other is near."""
        lines, size = self._outlines, self.diameter
        x, y = column - self.room, row - self.room
        # Outlines lie row by row: those above and below need not be looked at.
        first, last = np.searchsorted(lines.ys, (y - size, y + size)).tolist()
        beside = np.abs(lines.xs[first:last] - x) < size
        near = first + np.flatnonzero(beside & self._free[first:last])
        right, below = x - lines.xs[near], y - lines.ys[near]
        far = np.hypot(right, below) + 1e-6
        towards = (right * lines.across[near] + below * lines.down[near]) / far
        least, most = (share * size for share in OWN_OUTLINE)
        mine = (far > least) & (far < most) & (towards > OWN_SLOPE)
        own = near[mine]
        self._free[own] = False
        if len(own) > SEEN_WHOLE * size:
            self._radii.append(float(np.median(far[mine])))
        box = _box((x, y), lines.xs[own] - x, lines.ys[own] - y, size)
        window = self._around(row, column, FARTHEST_VOTE * size)
        self.scores[window] -= self._cast(own, window) * self._weights[window]
        barred = self._around(row, column, APART * size)
        rows, columns = np.ogrid[barred]
        close = np.hypot(rows - row, columns - column) < APART * size
        self._weights[barred][close] = 0
        self.scores[barred][close] = 0
        return box

    def _around(self, row: int, column: int, reach: float) -> tuple[slice, slice]:
        """The window of what lies within reach of a place."""
        room = int(reach) + 1
        return (
            slice(max(0, row - room), min(self.shape[0], row + room + 1)),
            slice(max(0, column - room), min(self.shape[1], column + room + 1)),
        )

    def correction(self) -> float:
        """By what factor the diameter differs from what the surest cells' outlines say."""
        if not self._radii:
            return 1.0
        usual = float(np.median(self._radii[:SUREST]))
        factor = usual / (RADIUS_OF_OUTLINE * self.diameter)
        return min(max(factor, 1 / MOST_OFF), MOST_OFF)

    def _cast(self, points: NDArray[np.intp], window: tuple[slice, slice]) -> Map:
        """The votes of some points in a window."""
        top, left = window[0].start, window[1].start
        height, width = window[0].stop - top, window[1].stop - left
        rows, columns = self._rows[points] - top, self._columns[points] - left
        inside = (rows >= 0) & (columns >= 0) & (rows < height) & (columns < width)
        votes = np.broadcast_to(self._outlines.votes[points, None], rows.shape)
        places = rows[inside] * width + columns[inside]
        sums = np.bincount(places, votes[inside], height * width).reshape(height, width)
        blurred = cv2.GaussianBlur(
            sums.astype(np.float32),
            (0, 0),
            BLUR * self.diameter,
            borderType=cv2.BORDER_CONSTANT,
        )
        return np.asarray(blurred, np.float32)

    def _shown(self, height: int, width: int) -> Map:
        """The share of a round cell's outline that the frame shows, by its middle."""
        ring = np.zeros((2 * self.room + 1, 2 * self.room + 1), np.float32)
        cv2.circle(ring, (self.room, self.room), round(self.diameter / 2), 1, 1)
        inside = np.zeros(self.shape, np.float32)
        inside[self.room : self.room + height, self.room : self.room + width] = 1 / ring.sum()
        shown = cv2.filter2D(inside, -1, ring, borderType=cv2.BORDER_CONSTANT)
        return np.maximum(np.asarray(shown, np.float32), np.float32(LEAST_SHOWN))

    def _allowed(self, stain: Map, white: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Where the middle of a red cell may lie."""
        room = (self.room,) * 4
        side = int(0.5 * self.diameter) | 1
        around = cv2.copyMakeBorder(cv2.blur(stain, (side, side)), *room, cv2.BORDER_REPLICATE)
        barred = cv2.copyMakeBorder(white, *room, cv2.BORDER_CONSTANT, value=0)
        allowed = (np.asarray(around) > LEAST_STAIN) & (np.asarray(barred) == 0)
        edge = self.room - int(BEYOND * self.diameter)
        allowed[:edge] = allowed[self.shape[0] - edge :] = False
        allowed[:, :edge] = allowed[:, self.shape[1] - edge :] = False
        return np.asarray(allowed, np.bool_)


def _elected(votes: _Votes) -> list[Box]:
    boxes: list[Box] = []
    while len(boxes) < MOST:
        row, column = divmod(int(votes.scores.argmax()), votes.shape[1])
        if votes.scores[row, column] < LEAST_VOTES:
            break
        boxes.append(votes.take(row, column))
    return boxes


def _box(
    middle: tuple[int, int], right: NDArray[np.intp], below: NDArray[np.intp], size: float
) -> Box:
    """The box of a cell by its own outline, (N,) pixels right of and below its middle.

    A side without an outline (another cell lies on it, or the frame ends) is as far as usual.
    """
    least, most = (share * size for share in REACH)
    far = np.hypot(right, below)
    usual = float(np.median(far)) if len(far) else size / 2
    sides = []
    for along, across in ((-right, below), (-below, right), (right, below), (below, right)):
        facing = far[along >= np.abs(across)]
        own = float(facing.sum()) / len(facing) if len(facing) >= FACING * size else usual
        sides.append(min(max(own, least), most) + RIM * size)
    x, y = middle
    return x - sides[0], y - sides[1], x + sides[2], y + sides[3]
