"""Frames with their cells drawn in, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.census import Census, is_counted
from qlvit_edge.fields.quality import kind_of
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.palette import UNCERTAIN, colour, ink, rgb

RED_CELL = "#c2410c"
PLATELET = "#6d28d9"
"""Colour of what is counted and not classified."""


def annotate(
    image: NDArray[np.uint8], cells: Sequence[ClassifiedCell], labels: Sequence[str]
) -> NDArray[np.uint8]:
    """Draw boxes with label and probability.

    Args:
        image: (H, W, 3) uint8 RGB.
        cells: the classified cells.
        labels: all class names; a class keeps its colour.

    Returns:
        (H, W, 3) uint8 RGB, a copy. Cells that are not accepted are grey: uncertain ones with a
        question mark, others with the reason in place of the class.
    """
    drawn = image.copy()
    size = max(0.4, min(image.shape[:2]) / 900)
    line = max(1, round(size * 2.5))
    for found in cells:
        cell, answer = found.cell, found.classification
        sure = answer.verdict == "accepted"
        plate = colour(labels.index(answer.label)) if sure else UNCERTAIN
        corner = (cell.x + cell.width - 1, cell.y + cell.height - 1)
        cv2.rectangle(drawn, (cell.x, cell.y), corner, rgb(plate), line)
        _write(drawn, _words(answer), cell.x, cell.y, plate, size)
    return drawn


def draw_census(image: NDArray[np.uint8], census: Census) -> None:
    """Ring red cells and platelets, in place, and write the counts into the upper corner.

    What the counting frame leaves out is drawn in grey.
    """
    line = max(1, round(min(image.shape[:2]) / 450))
    for boxes, plate in ((census.red, RED_CELL), (census.platelets, PLATELET)):
        for box in boxes:
            left, top, right, bottom = (round(value) for value in box)
            middle = (left + right) // 2, (top + bottom) // 2
            axes = max(1, (right - left) // 2), max(1, (bottom - top) // 2)
            paint = rgb(plate if is_counted(box) else UNCERTAIN)
            cv2.ellipse(image, middle, axes, 0, 0, 360, paint, line)
    words = ", ".join(f"{count} {kind}" for kind, count in census.counts().items())
    _write(image, words, 0, 0, "#ffffff", max(0.4, min(image.shape[:2]) / 900))


def draw_scale(image: NDArray[np.uint8], um_per_pixel: float | None) -> NDArray[np.uint8]:
    """Draw a bar of known length into the lower left corner, in place.

    Args:
        image: (H, W, 3) uint8 RGB.
        um_per_pixel: the scale; None where none is known: the bar is then in pixels, and says so.

    Returns:
        The image.
    """
    height, width = image.shape[:2]
    unit = 1.0 if um_per_pixel is None else um_per_pixel
    # The longest of 1, 2, 5, 10, … that takes a quarter of the width at most.
    ten = 10.0 ** np.floor(np.log10(width * unit / 4))
    length = max(ten * step for step in (1, 2, 5) if ten * step <= width * unit / 4)
    pixels = max(1, round(length / unit))
    size = max(0.4, min(height, width) / 900)
    room = max(4, round(12 * size))
    text = f"{length:g} {'px' if um_per_pixel is None else 'um'}"  # the font has no µ
    weight = max(1, round(3 * size))
    left, low = room, height - room
    cv2.line(image, (left, low), (left + pixels - 1, low), (255, 255, 255), 3 * weight)
    cv2.line(image, (left, low), (left + pixels - 1, low), (0, 0, 0), weight)
    _write(image, text, left, low - weight - 2, "#ffffff", size)
    return image


def _words(answer: Classification) -> str:
    if answer.verdict in ("accepted", "uncertain"):
        doubt = "" if answer.verdict == "accepted" else "?"
        return f"{answer.label.lower()}{doubt} {answer.probability:.0%}"
    if answer.verdict == "abstained":
        return kind_of(answer.reason)
    return answer.verdict


def _write(image: NDArray[np.uint8], text: str, x: int, y: int, plate: str, size: float) -> None:
    """Text on a plate above (x, y), moved inside the picture where it would leave it."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    weight = max(1, round(size * 1.6))
    (width, height), base = cv2.getTextSize(text, font, size, weight)
    room = height + base + 4
    left = max(0, min(x, image.shape[1] - width - 6))
    top = y - room if y >= room else y
    cv2.rectangle(image, (left, top), (left + width + 6, top + room), rgb(plate), cv2.FILLED)
    origin = (left + 3, top + height + 2)
    cv2.putText(image, text, origin, font, size, rgb(ink(plate)), weight, cv2.LINE_AA)
