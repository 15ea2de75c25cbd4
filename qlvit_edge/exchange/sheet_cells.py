"""The cells that a report sheet shows: those that people corrected, then the least certain ones."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.frames import frames_with_cells, located, shown_to_model
from qlvit_edge.review.store import ReviewedRun

SHOWN = 10
_EDGE = 120
"""Pixels of a picture's longer side: 15 mm at 200 per inch."""


@dataclass(frozen=True)
class ShownCell:
    """A cell with its picture.

    Attributes:
        cell: the cell.
        picture: as a data URI.
    """

    cell: ReviewCell
    picture: str


def doubted(seen: ReviewedRun) -> list[ReviewCell]:
    """Return the cells to show: changed and excluded ones first, then by rising probability."""

    def order(cell: ReviewCell) -> tuple[bool, bool, float, int]:
        corrected = cell.decision is not None and cell.final != cell.label
        return not corrected, cell.verdict == "accepted", cell.probability, cell.id

    return sorted(seen.cells, key=order)[:SHOWN]


def shown_cells(results: Path, seen: ReviewedRun) -> tuple[list[ShownCell], str | None]:
    """Return the cells to show as the model saw them, and why there are none."""
    chosen = doubted(seen)
    if not chosen:
        return [], "no cell was found"
    if any(cell.kept is None for cell in chosen):
        return [], "the frames of this run were not kept"
    if any(located(results, str(cell.kept)) is None for cell in chosen):
        return [], "the frames that were kept are not there any more"
    pictures = {}
    try:
        for _, image, cells in frames_with_cells(results, chosen):
            for cell in cells:
                pictures[cell.id] = _uri(shown_to_model(image, cell, seen.run.crop_margin))
    except DataError as error:
        return [], str(error)
    return [ShownCell(cell, pictures[cell.id]) for cell in chosen], None


def _uri(image: NDArray[np.uint8]) -> str:
    scale = min(1.0, _EDGE / max(image.shape[:2]))
    size = tuple(max(1, round(length * scale)) for length in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    good, content = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    if not good:
        raise ValueError("a crop cannot be written as JPEG")
    return f"data:image/jpeg;base64,{b64encode(content.tobytes()).decode('ascii')}"
