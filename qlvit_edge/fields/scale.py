"""How large a red cell is in a field: the field's own ruler.

Red cells are 7 to 8 µm across in every smear, whatever the objective, the adapter and the
camera. They are rarely alone, so that their outlines cannot simply be measured: the distance
from each stained pixel to the next background has a summit in every cell, and most summits
are as high as a red cell's radius, also where cells touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.density import Map, RedStain

Source = Literal["red cells", "cell size", "frame"]
"""Where a scale comes from: measured, told, or assumed from the frame's size."""

WHITE_PER_RED = 1.7
"""Diameter of a usual white cell (12 to 15 µm) in red cells."""

RED_CELL_UM = 7.5
"""Mean diameter of a red cell in a dried smear: 7 to 8 µm in adults without an anaemia."""

SUMMIT_TO_DIAMETER = 1.12
"""Red cell diameter by twice the commonest summit, which lies below it: cells are not discs."""

LEAST_SUMMIT = 3.0
"""Lower summits, in pixels, are specks and noise."""

LARGEST_PALLOR = 0.25
"""Share of the frame's short side that a pale centre spans at most; more is background."""

NOT_RED = 1.2
"""Pixels of more excess belong to nuclei and do not count as red cells."""


@dataclass(frozen=True)
class Scale:
    """The size of a red cell, and how it is known.

    Attributes:
        red_cell: diameter in pixels of the frame.
        source: ``"red cells"``: measured in this frame; ``"cell size"``: from the size of a white
            cell that the user gave; ``"frame"``: no red cell was found, a usual share of the
            frame was assumed.
    """

    red_cell: float
    source: Source


def red_cell_diameter(density: Map, red: RedStain, excess: Map) -> float | None:
    """Return the diameter in pixels of the usual red cell; None where there are none.

    Args:
        density: (H, W, 3), see `qlvit_edge.fields.density.optical_density`.
        red: what red cells look like in it.
        excess: (H, W), see `RedStain.excess`.
    """
    total = density[..., 0] + density[..., 1] + density[..., 2]
    stained = np.asarray((total > red.limit) & (excess < NOT_RED), np.uint8)
    summits = _summits(_with_pallor(stained))
    if not summits.size:
        return None
    # The commonest height, where a summit counts by its size: small ones are many.
    logs = np.log(summits)
    steps = np.log(LEAST_SUMMIT) + 0.06 * np.arange(1 + int(logs.max() / 0.06))
    weights = summits**1.25 * np.exp(-0.5 * ((steps[:, None] - logs) / 0.25) ** 2)
    return float(2 * SUMMIT_TO_DIAMETER * np.exp(steps[weights.sum(1).argmax()]))


def _with_pallor(stained: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill the pale centres of red cells: round holes. Gaps between cells are not convex."""
    filled = stained.copy()
    contours, tree = cv2.findContours(stained, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for place, contour in enumerate(contours):
        if tree[0][place][3] < 0:
            continue
        area = cv2.contourArea(contour)
        _, _, width, height = cv2.boundingRect(contour)
        if max(width, height) > LARGEST_PALLOR * min(stained.shape):
            continue
        round_hole = area > 0.8 * cv2.contourArea(cv2.convexHull(contour))
        if area < 3 or (round_hole and 0.5 < width / height < 2):
            cv2.drawContours(filled, [contour], -1, 1, -1)
    return filled


def _summits(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Heights of the summits of the distance to background, one in each other's radius."""
    # What the frame's edge cuts goes on beyond it.
    room = 8
    padded = cv2.copyMakeBorder(mask, room, room, room, room, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[room:-room, room:-room]
    around = cv2.dilate(distance, np.ones((9, 9), np.uint8))
    ys, xs = np.nonzero((distance == around) & (distance > LEAST_SUMMIT))
    heights = distance[ys, xs].astype(np.float64)
    order = np.argsort(-heights, kind="stable")[:400]
    ys, xs, heights = ys[order], xs[order], heights[order]
    left = np.ones(len(order), bool)
    for place in range(len(order)):
        if left[place]:
            near = (xs - xs[place]) ** 2 + (ys - ys[place]) ** 2 <= heights[place] ** 2
            near[: place + 1] = False
            left &= ~near
    return np.asarray(heights[left], np.float64)
