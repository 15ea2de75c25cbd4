"""How good a view of a cell is: of all views the best one's answer is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.finder import Cell
from qlvit_edge.slide.view import half_green, sharpness_of


@dataclass(frozen=True)
class Answer:
    """What was said about a cell in one frame.

    Attributes:
        label: the class.
        verdict: see `qlvit_edge.choices.VERDICTS`.
    """

    label: str
    verdict: str


_WHOLE, _SHARP, _JUDGED = 4.0, 2.0, 1.0


def quality_of(*, whole: bool, sharp: bool, judged: bool, sharpness: float) -> float:
    """Return how good a view of a cell is: one number, so that it can be stored.

    Args:
        whole: no edge of the frame cuts it; that decides first.
        sharp: the frame is as sharp as usual.
        judged: it is fit to be judged.
        sharpness: of the cell's box, at least 0; that decides last.
    """
    finest = sharpness / (1 + sharpness)
    return _WHOLE * whole + _SHARP * sharp + _JUDGED * judged + finest


def is_whole(quality: float) -> bool:
    """Tell whether a view of this quality shows all of the cell."""
    return quality >= _WHOLE


def qualities_of(
    image: NDArray[np.uint8], cells: Sequence[Cell], answers: Sequence[Answer], sharp: bool
) -> list[float]:
    """Return how good the view of each cell of a frame is; ``sharp``: so is the frame."""
    found = []
    for cell, answer in zip(cells, answers, strict=True):
        box = image[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width]
        quality = quality_of(
            whole=not cell.cut,
            sharp=sharp,
            judged=answer.verdict != "abstained",
            sharpness=sharpness_of(half_green(np.ascontiguousarray(box))),
        )
        found.append(quality)
    return found
