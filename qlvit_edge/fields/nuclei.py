"""The nuclei of a field: regions much more like a nucleus than like red cells.

Each region has its own threshold, half of its own strength, so that pale and dark nuclei of
one field are outlined alike. Lobes of one nucleus are joined; what is left smaller than a
nucleus is a platelet, a stain precipitate or the rim of a red cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.density import Map, RedStain
from qlvit_edge.fields.ranks import median, percentile

SURE = (0.55, 0.80)
"""Least and most excess that a nucleus is told by."""

SURE_SPREADS = 2.3
"""Between them, this many spreads of the field's red cells."""

SHARE_OF_STRONGEST = 0.38
"""A nucleus has at least this share of the field's strongest stain."""

OUTLINE_SHARE = 0.5
"""A nucleus reaches as far as this share of its own stain."""

LOWEST_OUTLINE = 0.56
"""Least outline, as a share of what a nucleus is told by."""

SMALLEST = 0.24
"""Least nucleus area in discs of a red cell: half a diameter, where lymphocytes begin."""

LARGEST = 6.0
"""Most nucleus area in discs of a red cell: white cells are at most 3 diameters across."""

LOBE = 0.6
"""A part of more than so many discs of a red cell is a nucleus of its own, not a lobe."""

GAP_OF_LOBES = 0.5
"""Lobes are at most this far apart, in diameters of a red cell."""

LARGEST_LOBED = (2.15, 2.2)
"""Longest side (diameters) and area (discs) of a nucleus of several lobes."""

LEAST_TURN = 11.0
"""Degrees by which the colour of a nucleus is turned from that of red cells, at least."""

SURE_OF_ANY_COLOUR = 2.5
"""Excess from which a nucleus is one whatever its colour: no red cells lie that deep."""

MOST_REGIONS = 400
"""Regions looked at in one frame, the largest ones: keeps odd frames affordable."""


@dataclass(frozen=True)
class Nucleus:
    """A nucleus in pixels of the searched copy (x1, y1 outside).

    Attributes:
        area: area in discs of a red cell.
        strength: median excess, see `qlvit_edge.fields.density.RedStain.excess`.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    area: float
    strength: float

    def joined(self, other: Nucleus) -> Nucleus:
        """Return both as one."""
        return Nucleus(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
            self.area + other.area,
            max(self.strength, other.strength),
        )

    def longer(self) -> int:
        """Return the longer side in pixels."""
        return max(self.x1 - self.x0, self.y1 - self.y0)


def find_nuclei(
    density: Map, red: RedStain, diameter: float, smallest: float = SMALLEST
) -> list[Nucleus]:
    """Return the nuclei, lobes joined, largest first, and what is larger than any nucleus.

    Args:
        density: (H, W, 3), see `qlvit_edge.fields.density.optical_density`.
        red: what red cells look like in it.
        diameter: of a red cell, in pixels of it.
        smallest: least area in discs of a red cell.
    """
    excess = red.excess(density)
    excess = np.asarray(cv2.GaussianBlur(excess, (0, 0), max(0.3, 0.04 * diameter)), np.float32)
    mask = _outlined(excess, diameter, red.spread)
    parts = [
        part
        for part, own in _parts(mask, excess, diameter)
        if red.turned(density[own]) >= LEAST_TURN or part.strength >= SURE_OF_ANY_COLOUR
    ]
    found = [nucleus for nucleus in _lobes_joined(parts, diameter) if nucleus.area >= smallest]
    return sorted(found, key=lambda nucleus: (-nucleus.area, nucleus.y0, nucleus.x0))


def disc_of(radius: float) -> NDArray[np.uint8]:
    """Return a round kernel of a radius in pixels, at least 1."""
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _outlined(excess: Map, diameter: float, spread: float) -> NDArray[np.uint8]:
    """Mask of the regions that are surely nuclei, each with its own outline."""
    # The strongest stain after averaging over a lobe, so that no speck sets it.
    lobe = max(3, int(0.4 * diameter)) | 1
    strongest = float(cv2.blur(excess, (lobe, lobe)).max())
    sure = max(float(np.clip(SURE_SPREADS * spread, *SURE)), SHARE_OF_STRONGEST * strongest)
    lowest = LOWEST_OUTLINE * min(sure, SURE[1])
    certain = np.asarray(excess > sure, np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(certain)
    mask = np.zeros(excess.shape, np.uint8)
    room = int(0.5 * diameter)
    speck = 0.03 * np.pi / 4 * diameter**2
    order = 1 + np.argsort(-boxes[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST_REGIONS]
    for label in order:
        x, y, width, height, area = (int(value) for value in boxes[label])
        if area < speck:
            break
        own = labels[y : y + height, x : x + width] == label
        strength = percentile(excess[y : y + height, x : x + width][own], 75)
        # The outline may lie outside what is sure.
        window = (
            slice(max(0, y - room), y + height + room),
            slice(max(0, x - room), x + width + room),
        )
        inside = np.asarray(excess[window] > max(lowest, OUTLINE_SHARE * strength), np.uint8)
        parts, part = cv2.connectedComponents(inside)
        chosen = np.zeros(parts, np.uint8)
        chosen[part[(labels[window] == label) & (inside > 0)]] = 1
        mask[window] |= chosen[part]
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc_of(0.07 * diameter)), np.uint8)


def _parts(
    mask: NDArray[np.uint8], excess: Map, diameter: float
) -> list[tuple[Nucleus, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """The connected regions of a mask, narrow clefts closed, with their (rows, columns)."""
    # Closing needs room around the field, or it would treat the edge as stain.
    room = int(diameter)
    padded = cv2.copyMakeBorder(mask, room, room, room, room, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc_of(0.12 * diameter))
    closed = np.ascontiguousarray(closed[room:-room, room:-room])
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(closed)
    disc = np.pi / 4 * diameter**2
    parts = []
    for label in range(1, min(count, 1 + MOST_REGIONS)):
        x, y, width, height, _ = (int(value) for value in boxes[label])
        window = slice(y, y + height), slice(x, x + width)
        own = (labels[window] == label) & (mask[window] > 0)
        area = int(np.count_nonzero(own))
        if area < 0.06 * disc:
            continue
        ys, xs = np.nonzero(own)
        x0, y0 = x + int(xs.min()), y + int(ys.min())
        x1, y1 = x + int(xs.max()) + 1, y + int(ys.max()) + 1
        strength = median(excess[window][own])
        parts.append((Nucleus(x0, y0, x1, y1, area / disc, strength), (ys + y, xs + x)))
    return parts


def _lobes_joined(parts: list[Nucleus], diameter: float) -> list[Nucleus]:
    """Join lobes, nearest first, unless the nucleus would be too large for one cell."""
    boxes = np.array([(part.x0, part.y0, part.x1, part.y1) for part in parts]).reshape(-1, 4)
    apart = np.maximum(boxes[:, None, :2] - boxes[None, :, 2:], 0)
    apart = np.maximum(apart, apart.transpose(1, 0, 2))
    gaps = np.hypot(apart[..., 0], apart[..., 1])
    firsts, seconds = np.nonzero(np.triu(gaps < GAP_OF_LOBES * diameter, 1))
    # Each part's nucleus, shared by the parts that were joined into it.
    whole = list(parts)
    members = [[place] for place in range(len(parts))]
    for pair in np.argsort(gaps[firsts, seconds], kind="stable"):
        one, other = whole[firsts[pair]], whole[seconds[pair]]
        if one is other or not _one_nucleus(one, other, diameter):
            continue
        both = members[firsts[pair]] + members[seconds[pair]]
        joined = one.joined(other)
        for place in both:
            whole[place], members[place] = joined, both
    return list({id(nucleus): nucleus for nucleus in whole}.values())


def _one_nucleus(first: Nucleus, second: Nucleus, diameter: float) -> bool:
    if min(first.area, second.area) >= LOBE:
        return False
    joined = first.joined(second)
    side, area = LARGEST_LOBED
    return joined.longer() < side * diameter and joined.area < area
