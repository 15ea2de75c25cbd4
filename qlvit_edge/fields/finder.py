"""Find white blood cells in a field of view by their stain.

Romanowsky stains (Wright, Giemsa, Leishman) colour nuclei with azure B, which makes them
darker in red and green light than red cells, and by comparison less so in blue. Both what
red cells look like (`qlvit_edge.fields.density`) and how large they are
(`qlvit_edge.fields.scale`) is taken from the field itself, so that lamp, white balance,
camera and objective need not be known. Regions that differ enough are nuclei
(`qlvit_edge.fields.nuclei`); a cell's box is its nucleus, widened to the cytoplasm.

That needs colour: in grey pictures red cells are as dark as nuclei (`is_grey`).

What a cell *is* (its class) and whether the field is in focus are left to others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.density import Map, RedStain, optical_density, red_stain
from qlvit_edge.fields.extent import Box, cell_box, pale_body
from qlvit_edge.fields.nuclei import LARGEST, SMALLEST, Nucleus, find_nuclei
from qlvit_edge.fields.scale import WHITE_PER_RED, Scale, red_cell_diameter

USUAL_RED_CELL = 0.18
"""Diameter of a red cell where nothing tells it, as a share of the frame's short side."""

LARGEST_RED_CELL = 0.4
"""Share of the frame's short side above which a diameter is that of a clump."""

RULER_SIDES = (240, 480, 960)
"""Short sides, in pixels, of the copies on which red cells are measured, the next where the
red cells of one are below `LEAST_RULER` pixels across."""

LEAST_RULER = 12.0

LARGE_FRAME = 640
"""Short side, in pixels, above which a frame is halved before it is made smaller still."""

WORKING_DIAMETER = 30
"""Diameter of a red cell, in pixels, in the copy that is searched."""

LEAST_DIAMETER = 3.0
"""Red cells of fewer pixels across are next to cells that have no shape to judge."""

MOST_CELLS = 300
"""Cells given for one frame at most, the largest ones: keeps odd frames affordable."""

FRAGMENT = 0.36
"""Area, in discs of a red cell, below which what lies against a larger cell is a part of it."""

PLATELET = 0.06
"""Least area, in discs of a red cell, of what a picture of one cell may be a picture of."""

CROP_MARGIN = 0.4
"""Surroundings that a classified crop shows, as a share of the cell's longer side."""

BEYOND = cv2.BORDER_REPLICATE
"""How a crop goes on beyond the field, in training and in `run`: its border repeated."""


@dataclass(frozen=True)
class Cell:
    """A white cell's box in its field.

    Attributes:
        x: left edge in pixels of the field, 0 at the left.
        y: top edge in pixels, 0 at the top.
        width: width in pixels.
        height: height in pixels.
        area: area of the stained nucleus in square pixels of the field.
        cut: whether the field's edge cuts the cell: its nucleus, with the cytoplasm
            estimated around it, reaches beyond.
    """

    x: int
    y: int
    width: int
    height: int
    area: float
    cut: bool = False

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box as (x, y) in pixels."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class Search:
    """The cells of a frame, and the scale they were looked for at.

    Attributes:
        cells: largest nucleus first; empty where nothing stains like a nucleus.
        scale: None where nothing in the frame is stained.
    """

    cells: list[Cell]
    scale: Scale | None


def find_cells(image: NDArray[np.uint8], *, cell_size: float | None = None) -> list[Cell]:
    """Find the white cells of a field of view.

    Args:
        image: (H, W, 3) uint8 RGB.
        cell_size: diameter of a usual white cell as a share of the frame's short side; None:
            from the field's own red cells.

    Returns:
        The cells, largest nucleus first; empty where nothing stains like a nucleus, and in grey
        pictures, see `is_grey`.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or ``cell_size`` not in (0, 1].
    """
    return search(image, cell_size=cell_size).cells


def search(
    image: NDArray[np.uint8], *, cell_size: float | None = None, lone: bool = False
) -> Search:
    """Find the white cells of a field of view, and say at which scale.

    Args:
        image: (H, W, 3) uint8 RGB.
        cell_size: see `find_cells`.
        lone: take what is as small as a platelet as well, and what is stained like nuclei
            throughout: the picture is known to be that of a cell.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or ``cell_size`` not in (0, 1].
    """
    _require_rgb(image)
    if cell_size is not None and not 0 < cell_size <= 1:
        raise ValueError(f"cell_size must be above 0 and at most 1, not {cell_size}")
    if is_grey(image):
        return Search([], None)
    short = min(image.shape[:2])
    if cell_size is not None:
        scale: Scale | None = Scale(cell_size * short / WHITE_PER_RED, "cell size")
        red = None
    else:
        scale, red = _measured(image)
    if scale is None:
        return Search([], None)
    found = _searched(image, scale, red, lone)
    if any(_too_large(cell, scale) for cell in found.cells) and scale.source == "red cells":
        # A ruler by which a nucleus is too large measured something smaller than red cells.
        scale = Scale(max(scale.red_cell, USUAL_RED_CELL * short), "frame")
        found = _searched(image, scale, red, lone)
    if scale.source == "frame":
        return found
    return Search([cell for cell in found.cells if not _too_large(cell, scale)], scale)


def _searched(image: NDArray[np.uint8], scale: Scale, red: RedStain | None, lone: bool) -> Search:
    """The cells at a scale, also what is too large to be one."""
    if scale.red_cell < LEAST_DIAMETER:
        return Search([], scale)
    small = shrunk(image, min(1.0, WORKING_DIAMETER / scale.red_cell))
    density = optical_density(small)
    red = red or red_stain(density)
    if red is None:
        return Search([], scale)
    factors = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
    diameter = scale.red_cell * small.shape[1] / image.shape[1]
    nuclei, red = _nuclei(density, red, diameter, lone)
    excess, pale = red.excess(density), pale_body(density, red, diameter)
    field = image.shape[1], image.shape[0]
    cells: list[Cell] = []
    for nucleus in nuclei[:MOST_CELLS]:
        area = nucleus.area * np.pi / 4 * scale.red_cell**2
        cell = _cell(cell_box(nucleus, excess, pale, diameter), float(area), factors, field)
        if nucleus.area >= FRAGMENT or not any(_overlap(cell, other) for other in cells):
            cells.append(cell)
    return Search(cells, scale)


def _overlap(first: Cell, second: Cell) -> bool:
    return min(first.x + first.width, second.x + second.width) > max(first.x, second.x) and min(
        first.y + first.height, second.y + second.height
    ) > max(first.y, second.y)


def _too_large(cell: Cell, scale: Scale) -> bool:
    return cell.area > LARGEST * np.pi / 4 * scale.red_cell**2


def is_grey(image: NDArray[np.uint8]) -> bool:
    """Whether a picture shows something, but without colour.

    In grey pictures of a stained smear red cells are as dark as nuclei, and larger.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    red, green, blue = cv2.split(np.ascontiguousarray(image[::4, ::4]))
    brightest, darkest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    apart = cv2.subtract(brightest, darkest)
    return bool(np.mean(apart > 3) < 0.001 and green.std() > 4)


def main_cell(image: NDArray[np.uint8]) -> Cell | None:
    """Return the cell that a photograph of a single cell is about.

    The nearest to the middle among the cells that are not much smaller than the largest. Where
    there is no white cell, stained things as small as platelets are taken.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        The cell; None where nothing is stained like a nucleus.

    Raises:
        ValueError: the image is not (H, W, 3) uint8.
    """
    cells = find_cells(image) or search(image, lone=True).cells
    if not cells:
        return None
    middle = image.shape[1] / 2, image.shape[0] / 2
    large = [cell for cell in cells if cell.area >= 0.4 * cells[0].area]
    return min(large, key=lambda cell: math.dist(cell.centre, middle))


def measured_scale(image: NDArray[np.uint8]) -> Scale | None:
    """Return the scale that a field's own red cells give; None where nothing is stained.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    _require_rgb(image)
    return None if is_grey(image) else _measured(image)[0]


def _measured(image: NDArray[np.uint8]) -> tuple[Scale | None, RedStain | None]:
    """The size of the frame's red cells, and what they look like."""
    short = min(image.shape[:2])
    red = None
    for side in RULER_SIDES:
        small = shrunk(image, min(1.0, side / short))
        density = optical_density(small)
        red = red_stain(density)
        if red is None:
            return None, None
        diameter = red_cell_diameter(density, red, red.excess(density))
        if side >= short or (diameter is not None and diameter >= LEAST_RULER):
            break
    size = 0.0 if diameter is None else diameter * image.shape[1] / small.shape[1]
    if not 0 < size <= LARGEST_RED_CELL * short:
        return Scale(USUAL_RED_CELL * short, "frame"), red
    return Scale(size, "red cells"), red


def _nuclei(
    density: Map, red: RedStain, diameter: float, lone: bool
) -> tuple[list[Nucleus], RedStain]:
    """The nuclei, and the red cells that they were told from."""
    smallest = PLATELET if lone else SMALLEST
    nuclei = find_nuclei(density, red, diameter, smallest)
    if not nuclei and (red.doubtful or lone):
        # Nothing but nuclei: what was taken for red cells is what is looked for.
        red = red.of_nuclei()
        nuclei = find_nuclei(density, red, diameter, smallest)
    return nuclei, red


def shrunk(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return a smaller copy of (H, W, 3) uint8; the image itself where it would not be smaller.

    Large frames are halved first, which is many times faster than any other ratio.
    """
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    while (
        min(image.shape[:2]) > LARGE_FRAME
        and all(whole >= 2 * wanted for whole, wanted in zip(image.shape[1::-1], size, strict=True))
        and not (image.shape[0] % 2 or image.shape[1] % 2)
    ):
        half = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def crop(image: NDArray[np.uint8], cell: Cell, margin: float = CROP_MARGIN) -> NDArray[np.uint8]:
    """Cut a square around a cell, with some of its surroundings.

    Args:
        image: (H, W, 3) uint8 RGB, the field in which the cell was found.
        cell: the cell.
        margin: context added, as a share of the cell's longer side: the square's side is
            ``max(width, height) * (1 + margin)``.

    Returns:
        (S, S, 3) uint8 RGB, a copy; beyond the field its border is replicated.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, the cell has no extent or
            lies outside, or the margin is negative.
    """
    _require_rgb(image)
    if cell.width < 1 or cell.height < 1 or margin < 0:
        raise ValueError(f"cannot crop {cell} with margin {margin}")
    side = max(1, round(max(cell.width, cell.height) * (1 + margin)))
    left, top = (round(middle - side / 2) for middle in cell.centre)
    height, width = image.shape[:2]
    inside = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    beyond = (
        max(0, -top),
        max(0, top + side - height),
        max(0, -left),
        max(0, left + side - width),
    )
    if not inside.size:
        raise ValueError(f"{cell} lies outside the image {image.shape}")
    if not any(beyond):
        return inside.copy()
    return np.asarray(cv2.copyMakeBorder(inside, *beyond, BEYOND), np.uint8)


def _cell(box: Box, area: float, factors: tuple[float, float], field: tuple[int, int]) -> Cell:
    """The cell in pixels of the field of (width, height); ``factors`` lead there."""
    wanted = (
        *(round(box[0] * factors[0]), round(box[1] * factors[1])),
        *(round(box[2] * factors[0]), round(box[3] * factors[1])),
    )
    x0, y0 = max(0, wanted[0]), max(0, wanted[1])
    x1, y1 = min(field[0], wanted[2]), min(field[1], wanted[3])
    return Cell(x0, y0, x1 - x0, y1 - y0, area, cut=(x0, y0, x1, y1) != wanted)


def _require_rgb(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an (H, W, 3) uint8 RGB image is needed, not {image.dtype} {image.shape}")
