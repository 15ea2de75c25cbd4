"""A drawn smear of known cells, and frames of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.finder import Cell
from qlvit_edge.slide.quality import Answer

WHITE = 16
"""Radius of a white cell in pixels."""


@dataclass(frozen=True)
class Smear:
    """A slide with red cells all over and white cells at known places.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        whites: (n, 2) centres (x, y) of the white cells in pixels.
        size: (width, height) of a frame.
    """

    image: NDArray[np.uint8]
    whites: NDArray[np.int64]
    size: tuple[int, int] = (192, 144)

    def frame(self, x: float, y: float, light: float = 1.0) -> NDArray[np.uint8]:
        """Return the frame whose upper left corner lies there."""
        width, height = self.size
        shift = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
        return np.asarray(cv2.warpAffine(self.image, shift, (width, height)) * light, np.uint8)

    def cells(self, x: float, y: float) -> list[Cell]:
        """Return the white cells of that frame, as a finder would."""
        return list(self._shown(x, y).values())

    def _shown(self, x: float, y: float) -> dict[int, Cell]:
        width, height = self.size
        found = {}
        for number, (cx, cy) in enumerate(self.whites):
            sides = (cx - WHITE - x, cy - WHITE - y, cx + WHITE - x, cy + WHITE - y)
            x0, y0 = max(0, round(sides[0])), max(0, round(sides[1]))
            x1, y1 = min(width, round(sides[2])), min(height, round(sides[3]))
            if x1 - x0 > 6 and y1 - y0 > 6:
                whole = (x1 - x0) > 2 * WHITE - 2 and (y1 - y0) > 2 * WHITE - 2
                found[number] = Cell(x0, y0, x1 - x0, y1 - y0, 500.0, cut=not whole)
        return found

    def answers(self, x: float, y: float, label: str = "cell") -> list[Answer]:
        """Return an answer for each of them."""
        return [Answer(label, "accepted")] * len(self.cells(x, y))

    def whole(self, x: float, y: float) -> set[int]:
        """Return which white cells that frame shows whole."""
        return {number for number, cell in self._shown(x, y).items() if not cell.cut}


def smear(width: int = 900, height: int = 700, seed: int = 0) -> Smear:
    """Draw a smear."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (232, 224, 228), np.uint8)
    for x, y, radius in zip(
        rng.integers(0, width, width * height // 900),
        rng.integers(0, height, width * height // 900),
        rng.integers(7, 11, width * height // 900),
        strict=True,
    ):
        cv2.circle(image, (int(x), int(y)), int(radius), (214, 160, 168), -1)
    whites: list[tuple[int, int]] = []
    while len(whites) < width * height // 20_000:
        x, y = int(rng.integers(30, width - 30)), int(rng.integers(30, height - 30))
        if all(np.hypot(x - ox, y - oy) > 50 for ox, oy in whites):
            whites.append((x, y))
            cv2.circle(image, (x, y), WHITE, (190, 160, 200), -1)
            cv2.circle(image, (x, y), 11, (96, 52, 140), -1)
    noise = rng.integers(-3, 4, image.shape)
    return Smear(np.clip(image + noise, 0, 255).astype(np.uint8), np.array(whites))
