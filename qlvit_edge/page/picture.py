"""The newest frame as the page shows it, and what is said of each of its cells."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.microscope.annotate import annotate, draw_scale
from qlvit_edge.microscope.pipeline import ClassifiedCell

PICTURE_WIDTH = 1280

MOST_CELLS = 40
"""Cells that are listed beside a picture; more are only marked in it."""


def in_order(cells: Sequence[ClassifiedCell]) -> list[ClassifiedCell]:
    """Return cells as they are numbered: from left to right."""
    return sorted(cells, key=lambda found: (found.cell.x, found.cell.y))


def cells_of(cells: Sequence[ClassifiedCell]) -> dict[str, object]:
    """Return what is said of a frame's cells, in the order of their numbers, for JSON."""
    return {
        "all": len(cells),
        "listed": [
            {
                "label": found.classification.label,
                "probability": round(found.classification.probability, 4),
                "verdict": found.classification.verdict,
                "reason": found.classification.reason,
            }
            for found in in_order(cells)[:MOST_CELLS]
        ],
    }


def jpeg_of(
    image: NDArray[np.uint8],
    cells: Sequence[ClassifiedCell],
    labels: Sequence[str],
    um_per_pixel: float | None,
) -> bytes:
    """Return a frame with its cells marked and numbered, `PICTURE_WIDTH` wide at most.

    Args:
        image: (H, W, 3) uint8 RGB.
        cells: its cells.
        labels: all class names.
        um_per_pixel: the scale; None where none is known.
    """
    drawn = annotate(image, cells, labels)
    for number, found in enumerate(in_order(cells), start=1):
        _write_number(drawn, number, found)
    drawn = draw_scale(drawn, um_per_pixel)
    height, width = drawn.shape[:2]
    if width > PICTURE_WIDTH:
        size = PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))
        drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    return jpeg.tobytes() if done else b""


def _write_number(image: NDArray[np.uint8], number: int, found: ClassifiedCell) -> None:
    """White on black, in the lower right corner of a cell's box, in place."""
    size = max(0.4, min(image.shape[:2]) / 900)
    weight, font, cell = max(1, round(size * 1.6)), cv2.FONT_HERSHEY_SIMPLEX, found.cell
    (width, height), base = cv2.getTextSize(str(number), font, size, weight)
    right, low = cell.x + cell.width, cell.y + cell.height
    corner = right - width - 6, low - height - base - 4
    cv2.rectangle(image, corner, (right - 1, low - 1), (0, 0, 0), cv2.FILLED)
    origin = corner[0] + 3, low - base - 2
    cv2.putText(image, str(number), origin, font, size, (255, 255, 255), weight, cv2.LINE_AA)
