"""How many white cells and red cells a field shows.

Cells on the border are counted by a counting frame: what touches the left or the upper border is
left out, what touches the right or the lower one is counted. Fields side by side then count each
cell once, and a large cell is not counted more often than a small one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.density import optical_density, red_stain
from qlvit_edge.fields.finder import Cell, measured_scale, shrunk
from qlvit_edge.fields.red_cells import Box, red_cell_middles
from qlvit_edge.fields.scale import WHITE_PER_RED, Scale

WORKING_DIAMETER: Final = 24
"""Diameter of a red cell, in pixels, in the copy that is counted."""

BORDER: Final = 1.0
"""A box that comes so near to a border, in pixels, touches it."""


@dataclass(frozen=True)
class Census:
    """The cells of a field, all of them and those that count.

    Attributes:
        red: boxes of red cells, (left, top, right, bottom) in pixels, clipped to the field.
        white_cells: white cells that the counting frame counts.
        red_cells: red cells that it counts.
    """

    red: tuple[Box, ...]
    white_cells: int
    red_cells: int

    def counts(self) -> dict[str, int]:
        """Return the cells that count, by kind."""
        return {
            "white cells": self.white_cells,
            "red cells": self.red_cells,
        }


def red_per_white(counts: Mapping[str, int]) -> float | None:
    """Return red cells per white cell; None without white cells."""
    white = counts.get("white cells", 0)
    return counts.get("red cells", 0) / white if white else None


def is_counted(box: Box) -> bool:
    """Whether the counting frame counts a box: it touches neither left nor upper border."""
    return box[0] >= BORDER and box[1] >= BORDER


def census(
    image: NDArray[np.uint8], white: Sequence[Cell], *, cell_size: float | None = None
) -> Census:
    """Count the cells of a field.

    Args:
        image: (H, W, 3) uint8 RGB.
        white: the white cells that were found in it.
        cell_size: see `qlvit_edge.fields.finder.find_cells`.
    """
    boxes = [_box(cell) for cell in white]
    counted = sum(is_counted(box) for box in boxes)
    if cell_size is None:
        scale = measured_scale(image)
    else:
        scale = Scale(cell_size * min(image.shape[:2]) / WHITE_PER_RED, "cell size")
    if scale is None or scale.red_cell < WORKING_DIAMETER / 4:
        return Census((), counted, 0)
    small = shrunk(image, min(1.0, WORKING_DIAMETER / scale.red_cell))
    density = optical_density(small)
    red = red_stain(density)
    if red is None:
        return Census((), counted, 0)
    factor = image.shape[1] / small.shape[1]
    inner = [_scaled(box, 1 / factor) for box in boxes]
    middles = red_cell_middles(density, red, scale.red_cell / factor, inner)
    radius = scale.red_cell / 2
    discs = [(factor * x - radius, factor * y - radius) for x, y in middles]
    height, width = image.shape[:2]
    reds = _clipped(((x, y, x + 2 * radius, y + 2 * radius) for x, y in discs), width, height)
    return Census(reds, counted, sum(map(is_counted, reds)))


def _box(cell: Cell) -> Box:
    return cell.x, cell.y, cell.x + cell.width, cell.y + cell.height


def _scaled(box: Box, factor: float) -> Box:
    left, top, right, bottom = box
    return left * factor, top * factor, right * factor, bottom * factor


def _clipped(boxes: Iterable[Box], width: int, height: int) -> tuple[Box, ...]:
    return tuple(
        (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
        for left, top, right, bottom in boxes
    )
