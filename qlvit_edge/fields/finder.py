"""Find white blood cells in a field of view by their stain.

Romanowsky stains (Wright, Giemsa, Leishman) colour nuclei with azure B, which absorbs
red light; haemoglobin and eosin absorb green and blue but let red pass. So in optical
density relative to the field's own background, red minus a share of blue separates nuclei
from red cells whatever the lamp and white balance. Components of that index, lobes
joined, become cells; the box is widened to the cytoplasm.

That needs colour. In grey fields red cells are dark too and are taken for white ones
(`benchmarks/finder.py` counts them): a model of one channel wants a colour camera before it.

What a cell *is* (its class) and whether the field is in focus are left to others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray

WORKING_SIDE = 240
"""Short side, in pixels, of the copy that is searched."""

DEFAULT_CELL_SIZE = 0.3
"""Diameter of a usual white cell, as a share of the field's short side (100× objective)."""

BLUE_SHARE = 0.45
"""Red density of haemoglobin and eosin per blue density, at most; measured on fields."""

LOWEST_THRESHOLD = 0.055
"""Optical density (log10) that an index must exceed before anything counts as nucleus."""

PEAK_SHARE = 0.42
"""A nucleus pixel has at least this share of the field's strongest stain."""

SMALLEST_NUCLEUS = 0.14
"""Least nucleus area, as a share of the usual cell's disc; platelets are below it."""

CYTOPLASM_SHARE = 0.12
"""Cytoplasm added on each side of the nucleus, as a share of its longer side."""

LEAST_ASPECT = 0.8
"""Cells are round: a box's shorter side is widened to this share of the longer one."""

WHOLE_NUCLEUS = 0.5
"""A part of more than this share of the usual cell's disc is a nucleus, not a lobe."""

MOST_CELLS = 300
"""Cells given for one frame at most, the largest ones: keeps odd frames affordable."""

LEAST_DIAMETER = 4
"""Cells of fewer pixels across have no shape to judge; none are looked for."""

CROP_MARGIN = 0.4
"""Surroundings that a classified crop shows, as a share of the cell's longer side."""

BEYOND = cv2.BORDER_REPLICATE
"""How a crop goes on beyond the field, in training and in `run`: its border repeated."""

OVERLAP_OF_LOBES = 0.08
"""Boxes that share more than this part of the smaller one hold lobes of one nucleus."""


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


def find_cells(image: NDArray[np.uint8], *, cell_size: float = DEFAULT_CELL_SIZE) -> list[Cell]:
    """Find the white cells of a field of view.

    Every length is relative to the field's short side, so that a 320×240 copy and a
    1920×1080 frame of one field give the same cells.

    Args:
        image: (H, W, 3) uint8 RGB.
        cell_size: diameter of a usual white cell as a share of the short side; nuclei
            from a third of it to three times its size are accepted.

    Returns:
        The cells, largest nucleus first; empty where nothing stains like a nucleus.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or ``cell_size`` not in (0, 1].
    """
    _require_rgb(image)
    if not 0 < cell_size <= 1:
        raise ValueError(f"cell_size must be above 0 and at most 1, not {cell_size}")
    height, width = image.shape[:2]
    # Small cells need a larger copy: a usual cell always spans the same working pixels.
    side = round(WORKING_SIDE * max(1.0, DEFAULT_CELL_SIZE / cell_size))
    scale = min(1.0, side / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    diameter = cell_size * min(small.shape[:2])
    if diameter < LEAST_DIAMETER:
        return []
    index = stain_index(np.asarray(small, np.uint8))
    nuclei = _nuclei(index, diameter)
    factors = width / small.shape[1], height / small.shape[0]
    cells = [_cell(nucleus, diameter, factors, (width, height)) for nucleus in nuclei]
    return sorted(cells, key=lambda cell: (-cell.area, cell.y, cell.x))


def stain_index(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much like a stained nucleus each pixel is, in log10 optical density.

    Densities are relative to the field's own background (its brightest twentieth), so
    lamp colour and white balance cancel. Pixels without light (the black corners of a
    rotated or vignetted image) are 0.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) float32; background and red cells near or below 0, nuclei above 0.1.
    """
    light = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    background = np.maximum(np.percentile(light, 95, axis=(0, 1)), 16).astype(np.float32)
    density = -np.log10(np.clip(light / background, 0.02, 1.0))
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    # Nuclei absorb green as well; blue or cyan debris and colour fringes do not.
    index = np.minimum(red, green) - BLUE_SHARE * blue
    brightest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
    index[brightest < 0.12 * background.max()] = 0.0
    return np.asarray(index, np.float32)


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


@dataclass(frozen=True)
class _Stain:
    """A stained region: its box in pixels of the working copy (x1, y1 outside), its area."""

    x0: int
    y0: int
    x1: int
    y1: int
    area: int

    def joined(self, other: _Stain) -> _Stain:
        return _Stain(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
            self.area + other.area,
        )

    def longer(self) -> int:
        return max(self.x1 - self.x0, self.y1 - self.y0)

    def gap(self, other: _Stain) -> int:
        """Pixels between the two boxes, along the axis where they are further apart."""
        across = max(self.x0, other.x0) - min(self.x1, other.x1)
        down = max(self.y0, other.y0) - min(self.y1, other.y1)
        return max(across, down)

    def cell_box(self, diameter: float) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) of nucleus and cytoplasm, not clipped to the field."""
        width, height, longer = self.x1 - self.x0, self.y1 - self.y0, self.longer()
        grow = CYTOPLASM_SHARE * longer + 0.03 * diameter
        grow_x = grow + max(0.0, LEAST_ASPECT * longer - width) / 2
        grow_y = grow + max(0.0, LEAST_ASPECT * longer - height) / 2
        return self.x0 - grow_x, self.y0 - grow_y, self.x1 + grow_x, self.y1 + grow_y


def _nuclei(index: NDArray[np.float32], diameter: float) -> list[_Stain]:
    """The nuclei, lobes joined; ``diameter`` of a usual cell in pixels."""
    # The stain's strength: the peak after averaging over a lobe, so that no speck sets it.
    lobe = max(3, round(diameter * 0.2)) | 1
    peak = float(cv2.blur(index, (lobe, lobe)).max())
    threshold = max(LOWEST_THRESHOLD, PEAK_SHARE * peak)
    stained = (index > threshold).astype(np.uint8)
    mask = cv2.morphologyEx(stained, cv2.MORPH_OPEN, _disc(diameter * 0.05))
    disc = np.pi / 4 * diameter**2
    nuclei = [
        nucleus
        for group in _groups(np.asarray(mask, np.uint8), diameter)
        for nucleus in _separate(group, WHOLE_NUCLEUS * disc)
        # Platelets are smaller; a smear of stain over the field is larger.
        if SMALLEST_NUCLEUS * disc <= nucleus.area <= 9 * disc
    ]
    nuclei.sort(key=lambda nucleus: -nucleus.area)
    return _join_overlapping(nuclei[:MOST_CELLS], diameter)


def _groups(mask: NDArray[np.uint8], diameter: float) -> list[list[_Stain]]:
    """The stained regions, those near enough to be lobes of one nucleus together."""
    # Closing needs room around the field, or it would treat the edge as stain.
    room = int(diameter)
    padded = cv2.copyMakeBorder(mask, room, room, room, room, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(diameter * 0.14))
    _, owners = cv2.connectedComponents(closed[room:-room, room:-room])
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask)
    # Closing only adds pixels, so that every region lies in one owner.
    owner = np.zeros(count, np.int64)
    owner[labels] = owners
    groups: dict[int, list[_Stain]] = {}
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in boxes[label])
        region = _Stain(x, y, x + width, y + height, area)
        groups.setdefault(int(owner[label]), []).append(region)
    return list(groups.values())


def _separate(group: list[_Stain], whole: float) -> list[_Stain]:
    """Make nuclei of a group of regions: one, or several where cells lie side by side.

    Regions of more than ``whole`` pixels are nuclei of their own, too large for lobes;
    what is smaller goes to the nearest of them.
    """
    nuclei = [region for region in group if region.area > whole]
    lobes = [region for region in group if region.area <= whole]
    if len(nuclei) < 2:
        return [reduce(_Stain.joined, group)]
    for lobe in lobes:
        nearest = min(range(len(nuclei)), key=lambda i: nuclei[i].gap(lobe))
        nuclei[nearest] = nuclei[nearest].joined(lobe)
    return nuclei


def _join_overlapping(nuclei: list[_Stain], diameter: float) -> list[_Stain]:
    """Join nuclei whose cells would overlap into one, unless that cell would be a giant.

    Two wide-apart lobes of an eosinophil are one cell; two cells side by side are two.
    """
    waiting = list(nuclei)
    done: list[_Stain] = []
    while waiting:
        first = waiting.pop()
        partner = next((n for n in waiting + done if _one_cell(first, n, diameter)), None)
        if partner is None:
            done.append(first)
            continue
        (waiting if partner in waiting else done).remove(partner)
        waiting.append(first.joined(partner))
    return done


def _one_cell(first: _Stain, second: _Stain, diameter: float) -> bool:
    a, b = first.cell_box(diameter), second.cell_box(diameter)
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(
        0.0, min(a[3], b[3]) - max(a[1], b[1])
    )
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    joined = first.joined(second)
    return shared > OVERLAP_OF_LOBES * smaller and joined.longer() < 1.4 * diameter


def _cell(
    nucleus: _Stain, diameter: float, factors: tuple[float, float], field: tuple[int, int]
) -> Cell:
    """The cell in pixels of the field of (width, height); ``factors`` lead there."""
    left, top, right, bottom = nucleus.cell_box(diameter)
    wanted = (
        *(round(left * factors[0]), round(top * factors[1])),
        *(round(right * factors[0]), round(bottom * factors[1])),
    )
    x0, y0 = max(0, wanted[0]), max(0, wanted[1])
    x1, y1 = min(field[0], wanted[2]), min(field[1], wanted[3])
    area = nucleus.area * factors[0] * factors[1]
    return Cell(x0, y0, x1 - x0, y1 - y0, area, cut=(x0, y0, x1, y1) != wanted)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _require_rgb(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an (H, W, 3) uint8 RGB image is needed, not {image.dtype} {image.shape}")
