"""The platelets of a field: small spots stained like nuclei.

Platelets are a third of a red cell across (2 to 3 µm) and stained by azure B, which no layer of red
cells is, however thick. So what is measured is density of red and green beyond what red cells have
for their blue: it is nothing in background and red cells alike, and platelets are summits of it.
Each summit is outlined at half its height. It is a platelet where its outline is small and compact
and its colour turned from that of red cells towards that of the field's own nuclei. A paler one
must lie alone on the background, where nothing else is small and round. What lies in the middle of
a red cell (an inclusion, dirt, a platelet: nobody can tell) is none, nor what belongs to a white
cell.

Platelets as large as red cells are found as white cells are, and classified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.density import Map, RedStain
from qlvit_edge.fields.nuclei import disc_of
from qlvit_edge.fields.red_cells import Box, ellipses

BLUR: Final = 0.07
"""Width of the smoothing, in diameters of a red cell."""

APART: Final = 0.15
"""Least distance of two summits, in diameters."""

HALF: Final = 0.5
"""Share of its summit at which a platelet is outlined."""

AREA: Final = (0.04, 0.3)
"""Least and most area of an outline, in discs of a red cell."""

LONGEST: Final = 0.6
"""Longest side of an outline, in diameters."""

COMPACT: Final = 0.6
"""Least share of its box that an outline fills; a disc fills 0.79."""

AROUND: Final = (0.11, 0.25)
"""What lies around an outline: between these distances, in diameters."""

MOST_AROUND: Final = 0.8
"""Most density around it, in those of a red cell: the median."""

LEAST_SUMMIT: Final = 0.4
"""Least height of a summit, in red and green densities of a red cell."""

CUT_SUMMIT: Final = 0.8
"""The same of what the border cuts: rims of red cells that lie beyond it look alike."""

CROWDED: Final = 0.5
"""A summit is the higher by this share of what the upper quartile around it has beyond as much:
lenses give red cells coloured rims."""

TURN: Final = 0.7
"""Least turn of its colour from that of red cells, by that of nuclei."""

LEAST_TURN: Final = 8.0
"""The same in degrees."""

LEAST_COLOUR: Final = 12.0
"""Degrees by which a platelet's colour is turned from grey, at least: dirt is grey."""

ALONE_SUMMIT: Final = 0.25
"""Least height of a summit that lies alone."""

ALONE_TURN: Final = 0.45
"""Least turn of its colour, by that of nuclei."""

ALONE_AROUND: Final = 0.3
"""Most density around what lies alone, in those of a red cell: the upper quartile."""

ALONE_LONGEST: Final = 0.42
"""Longest side of what lies alone, in diameters."""

ALONE_AREA: Final = 0.16
"""Most area of it, in discs of a red cell."""

AZURE: Final = (0.44, 0.88, 0.15)
"""Densities of nuclei in red, green and blue, where the field shows none: mean of three stains."""

MOST: Final = 300
"""Summits looked at in one frame at most, the highest: keeps odd frames affordable."""


@dataclass(frozen=True)
class _Spot:
    """A summit with its outline.

    Attributes:
        summit: its height, in red and green densities of a red cell.
        area: of the outline, in discs of a red cell.
        side: its longer side, in diameters.
        turn: degrees by which its colour is turned from that of red cells.
        colour: degrees by which it is turned from grey.
        around: upper quartile of the density around it, in those of a red cell.
        cut: whether the field's border cuts it.
    """

    summit: float
    area: float
    side: float
    turn: float
    colour: float
    around: float
    cut: bool


def platelet_boxes(density: Map, red: RedStain, diameter: float, white: Sequence[Box]) -> list[Box]:
    """Return the boxes of platelets, most strongly stained first.

    Args:
        density: (H, W, 3), see `qlvit_edge.fields.density.optical_density`.
        red: what red cells look like in it.
        diameter: of a red cell, in pixels.
        white: boxes of the white cells in it.
    """
    azure = (density[..., 0] + density[..., 1]) * np.float32(1 / red.red_green)
    azure -= density[..., 2] * np.float32(1 / red.blue)
    azure = np.asarray(cv2.GaussianBlur(azure, (0, 0), max(0.3, BLUR * diameter)), np.float32)
    highest = np.asarray(cv2.dilate(azure, disc_of(APART * diameter)), np.float32)
    free = ellipses(azure.shape, white, 1.0) == 0
    ys, xs = np.nonzero((azure == highest) & (azure > ALONE_SUMMIT) & free)
    order = np.argsort(-azure[ys, xs], kind="stable")[:MOST]
    turn = _turn_of_nuclei(density, red, white)
    taken = np.zeros(azure.shape, bool)
    boxes = []
    for y, x in zip(ys[order].tolist(), xs[order].tolist(), strict=True):
        if taken[y, x]:
            continue
        (top, left), outline = _outlined(azure, y, x, diameter)
        window = slice(top, top + outline.shape[0]), slice(left, left + outline.shape[1])
        taken[window] |= outline
        x0, y0, width, height = cv2.boundingRect(np.asarray(outline, np.uint8))
        box = left + x0, top + y0, left + x0 + width, top + y0 + height
        cut = min(box[:2]) <= 0 or box[2] >= azure.shape[1] or box[3] >= azure.shape[0]
        spot = _spot(float(azure[y, x]), density[window], outline, red, diameter, cut=cut)
        if spot is not None and _is_platelet(spot, turn):
            boxes.append((float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return boxes


def _turn_of_nuclei(density: Map, red: RedStain, white: Sequence[Box]) -> float:
    """Degrees by which nuclei are turned from red cells: the field's own, or usual ones."""
    turns = [red.turned(np.array([AZURE], np.float32))]
    for left, top, right, bottom in white:
        cell = density[max(0, int(top)) : int(bottom) + 1, max(0, int(left)) : int(right) + 1]
        pixels = cell.reshape(-1, 3)
        if len(pixels) >= 10:
            excess = red.excess(pixels)
            turns.append(red.turned(pixels[excess >= np.percentile(excess, 70)]))
    return max(turns[1:]) if len(turns) > 1 else turns[0]


def _outlined(
    azure: Map, y: int, x: int, diameter: float
) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """The corner of a window around a summit, and what in it is connected and half as high."""
    room = int(0.8 * diameter)
    top, left = max(0, y - room), max(0, x - room)
    window = azure[top : y + room + 1, left : x + room + 1]
    _, regions = cv2.connectedComponents(np.asarray(window > HALF * azure[y, x], np.uint8))
    return (top, left), np.asarray(regions == regions[y - top, x - left], np.bool_)


def _spot(
    summit: float,
    density: Map,
    outline: NDArray[np.bool_],
    red: RedStain,
    diameter: float,
    *,
    cut: bool,
) -> _Spot | None:
    """Measure an outline (h, w) in a window of densities (h, w, 3).

    None where its size, its shape or what lies around it is no platelet's.
    """
    mask = np.asarray(outline, np.uint8)
    pixels, disc = int(np.count_nonzero(outline)), np.pi / 4 * diameter**2
    _, _, width, height = cv2.boundingRect(mask)
    if not AREA[0] * disc < pixels < AREA[1] * disc or max(width, height) > LONGEST * diameter:
        return None
    if pixels < COMPACT * width * height:
        return None
    near, far = (cv2.dilate(mask, disc_of(share * diameter)) for share in AROUND)
    ring = density[(np.asarray(far) > 0) & (np.asarray(near) == 0)].sum(axis=1)
    if not len(ring):
        return None
    ring = np.sort(ring) / np.float32(sum(red.colour))
    median, quartile = (float(ring[len(ring) * share // 4]) for share in (2, 3))
    if median > MOST_AROUND:
        return None
    return _Spot(
        summit=summit,
        area=pixels / disc,
        side=max(width, height) / diameter,
        turn=red.turned(density[outline]),
        colour=replace(red, colour=(1.0, 1.0, 1.0)).turned(density[outline]),
        around=quartile,
        cut=cut,
    )


def _is_platelet(spot: _Spot, turn: float) -> bool:
    """Whether a spot is a platelet, in a field where nuclei are turned by so many degrees."""
    if spot.turn < LEAST_TURN or spot.colour < LEAST_COLOUR:
        return False
    least = CUT_SUMMIT if spot.cut else LEAST_SUMMIT
    strong = spot.summit > least + CROWDED * max(0.0, spot.around - CROWDED)
    if strong and spot.turn > TURN * turn:
        return True
    small = spot.side < ALONE_LONGEST and spot.area < ALONE_AREA
    alone = spot.around < ALONE_AROUND and not spot.cut
    return small and alone and spot.turn > ALONE_TURN * turn
