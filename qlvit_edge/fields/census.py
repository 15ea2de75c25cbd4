"""How many white cells, red cells and platelets a field shows.

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
from qlvit_edge.fields.platelets import platelet_boxes
from qlvit_edge.fields.red_cells import Box, red_cell_boxes
from qlvit_edge.fields.scale import WHITE_PER_RED, Scale

WORKING_DIAMETER: Final = 28
"""Diameter of a red cell, in pixels, in the copy that is counted."""

LEAST_DIAMETER: Final = 10.0
"""Diameter of a red cell, in pixels of the field, from which cells are counted."""

BORDER: Final = 1.0
"""A box that comes so near to a border, in pixels, touches it."""


@dataclass(frozen=True)
class Census:
    """The cells of a field, all of them and those that count.

    Attributes:
        red: boxes of red cells, (left, top, right, bottom) in pixels, clipped to the field.
        platelets: boxes of platelets, likewise.
        white_cells: white cells that the counting frame counts.
        red_cells: red cells that it counts.
        platelet_cells: platelets that it counts.
    """

    red: tuple[Box, ...]
    platelets: tuple[Box, ...]
    white_cells: int
    red_cells: int
    platelet_cells: int

    def counts(self) -> dict[str, int]:
        """Return the cells that count, by kind."""
        return {
            "white cells": self.white_cells,
            "red cells": self.red_cells,
            "platelets": self.platelet_cells,
        }


def red_per_white(counts: Mapping[str, int]) -> float | None:
    """Return red cells per white cell; None without white cells."""
    white = counts.get("white cells", 0)
    return counts.get("red cells", 0) / white if white else None


def platelets_per_1000_red(counts: Mapping[str, int]) -> float | None:
    """Return platelets per 1000 red cells; None without red cells, or without their count."""
    red = counts.get("red cells", 0)
    return 1000 * counts["platelets"] / red if red and "platelets" in counts else None


def is_counted(box: Box) -> bool:
    """Whether the counting frame counts a box: it touches neither left nor upper border."""
    return box[0] >= BORDER and box[1] >= BORDER


def census(
    image: NDArray[np.uint8],
    white: Sequence[Cell],
    large: Sequence[Cell] = (),
    *,
    cell_size: float | None = None,
    scale: Scale | None = None,
) -> Census | None:
    """Count the cells of a field.

    Args:
        image: (H, W, 3) uint8 RGB.
        white: the white cells that were found in it.
        large: platelets so large that they were found like white cells.
        cell_size: see `qlvit_edge.fields.finder.find_cells`.
        scale: what `qlvit_edge.fields.finder.search` found it to be; None: it is measured.

    Returns:
        The count; None where the cells are too small to be counted.
    """
    if scale is None or cell_size is not None:
        scale = _scale(image, cell_size)
    if scale is not None and scale.red_cell < LEAST_DIAMETER:
        return None
    whites, larges = ([_box(cell) for cell in cells] for cells in (white, large))
    reds, found = ((), ()) if scale is None else _found(image, scale, [*whites, *larges])
    platelets = (*larges, *found)
    counts = (sum(map(is_counted, boxes)) for boxes in (whites, reds, platelets))
    return Census(reds, platelets, *counts)


def _found(
    image: NDArray[np.uint8], scale: Scale, others: Sequence[Box]
) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """The red cells and the platelets of a field, beside other cells."""
    small = shrunk(image, min(1.0, WORKING_DIAMETER / scale.red_cell))
    density = optical_density(small)
    red = red_stain(density)
    if red is None:
        return (), ()
    factor = image.shape[1] / small.shape[1]
    diameter = scale.red_cell / factor
    inner = [_scaled(box, 1 / factor) for box in others]
    height, width = image.shape[:2]
    reds, platelets = (
        _clipped(
            (_scaled(box, factor) for box in find(density, red, diameter, inner)), width, height
        )
        for find in (red_cell_boxes, platelet_boxes)
    )
    return reds, platelets


def _scale(image: NDArray[np.uint8], cell_size: float | None) -> Scale | None:
    if cell_size is None:
        return measured_scale(image)
    return Scale(cell_size * min(image.shape[:2]) / WHITE_PER_RED, "cell size")


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
