"""From a frame to classified cells, and where the time went.

Find → crop → prepare → infer; storing and showing the results are the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import CROP_MARGIN, Cell, crop, find_cells, is_grey
from qlvit_edge.fields.quality import CUT
from qlvit_edge.inference.classifier import Classification, Classifier

Find = Literal["cells", "none"]
"""Whether cells are looked for, or each frame is classified as a whole."""

NEEDED_WORK = ("capture", "find", "infer", "place")
"""What a run is for; time on anything else is overhead."""


@dataclass(frozen=True)
class ClassifiedCell:
    """A cell of a frame, or a whole frame, and what the model says about it.

    Attributes:
        cell: where it is, and whether the frame's edge cuts it.
        classification: what the model says; of a cell that is cut it saw a part.
    """

    cell: Cell
    classification: Classification


@dataclass
class Times:
    """Wall-clock seconds by what they were spent on, since this was made.

    Attributes:
        spent: seconds by name; what was not measured is the rest of the total.
    """

    spent: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Count the block's time under ``name``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - started

    def total(self) -> float:
        """Return the seconds since this was made."""
        return time.perf_counter() - self._started

    def shares(self) -> dict[str, float]:
        """Return each name's share of the total, and the rest as ``"other"``; sum 1."""
        total = max(self.total(), 1e-9)
        shares = {name: seconds / total for name, seconds in self.spent.items()}
        return {**shares, "other": max(0.0, 1.0 - sum(shares.values()))}


class Pipeline:
    """Finds and classifies the cells of frames.

    Attributes:
        times: seconds spent on ``find``, ``prepare`` (crop and resize) and ``infer``.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        cell_size: float | None = None,
        margin: float = CROP_MARGIN,
        find: Find = "cells",
        times: Times | None = None,
        one_camera: bool = False,
    ) -> None:
        """Set up.

        Args:
            classifier: what classifies the crops.
            cell_size: diameter of a usual white cell as a share of the frame's short side; None:
                from the red cells of each frame.
            margin: surroundings in a crop, as a share of the cell's longer side.
            find: ``"none"`` to classify each frame as a whole, as one cell.
            times: where to count time; a new one if not given.
            one_camera: all frames are of one camera: once cells were found, a grey frame (an
                empty field in uneven light, say) is one without cells and ends nothing.
        """
        self._classifier = classifier
        self._cell_size = cell_size
        self._margin = margin
        self._find = find
        self._one_camera, self._found = one_camera, False
        self.times = times if times is not None else Times()

    def process(self, frame: Frame) -> tuple[ClassifiedCell, ...]:
        """Return the frame's cells, largest nucleus first.

        Without a search the frame is the only one; its nucleus has the area 0.

        Raises:
            DataError: white cells are looked for in a grey picture.
        """
        if self._find == "none":
            height, width = frame.image.shape[:2]
            whole = Cell(0, 0, width, height, 0.0)
            return (ClassifiedCell(whole, self._classify(frame.image)),)
        with self.times.measure("find"):
            if not (self._one_camera and self._found):
                require_colour(frame.image, frame.source)
            cells = _found_in(frame, self._cell_size)
            self._found |= bool(cells)
        return tuple(ClassifiedCell(cell, self._classify(frame.image, cell)) for cell in cells)

    def _classify(self, image: NDArray[np.uint8], cell: Cell | None = None) -> Classification:
        with self.times.measure("prepare"):
            shown = image if cell is None else crop(image, cell, self._margin)
            pixels = self._classifier.prepare(shown)
        with self.times.measure("infer"):
            answer = self._classifier.infer(pixels)
        if cell is None or not cell.cut or not self._classifier.judges:
            return answer
        return of_a_part(answer)


def _found_in(frame: Frame, cell_size: float | None) -> list[Cell]:
    """Look for cells in the frame, or in its low-resolution copy; in pixels of the frame."""
    if frame.small is None:
        return find_cells(frame.image, cell_size=cell_size)
    height, width = frame.image.shape[:2]
    across, down = width / frame.small.shape[1], height / frame.small.shape[0]
    found = []
    for cell in find_cells(frame.small, cell_size=cell_size):
        x, y = round(cell.x * across), round(cell.y * down)
        right = min(width, round((cell.x + cell.width) * across))
        bottom = min(height, round((cell.y + cell.height) * down))
        area = cell.area * across * down
        found.append(Cell(x, y, right - x, bottom - y, area, cut=cell.cut))
    return found


def require_colour(image: NDArray[np.uint8], source: str) -> None:
    """Refuse an image in which white cells cannot be found.

    Raises:
        DataError: it is grey.
    """
    if is_grey(image):
        raise DataError(
            source,
            "a grey picture of a stained smear, in which white cells cannot be told from red ones",
            "use a colour camera, or classify whole pictures (run: --find none; predict: without "
            "--find-cells)",
        )


def of_a_part(answer: Classification) -> Classification:
    """Return the answer on a cell that the frame's edge cuts: it is not accepted.

    Whole cells are counted: of a cut one the nucleus may be half a nucleus, and in overlapping
    frames it is there twice. What the guard rejects for another reason keeps that one.
    """
    if answer.verdict not in ("accepted", "uncertain"):
        return answer
    return replace(answer, verdict="abstained", reason=CUT)
