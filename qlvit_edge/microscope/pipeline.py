"""From a frame to classified cells, and where the time went.

Find → crop → prepare → infer; storing and showing the results are the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from qlvit_edge.camera.base import Frame
from qlvit_edge.fields.finder import CROP_MARGIN, DEFAULT_CELL_SIZE, Cell, crop, find_cells
from qlvit_edge.inference.classifier import Classification, Classifier


@dataclass(frozen=True)
class ClassifiedCell:
    """A cell of a frame and what the model says about it.

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
        cell_size: float = DEFAULT_CELL_SIZE,
        margin: float = CROP_MARGIN,
        times: Times | None = None,
    ) -> None:
        """Set up.

        Args:
            classifier: what classifies the crops.
            cell_size: diameter of a usual white cell as a share of the frame's short side.
            margin: surroundings in a crop, as a share of the cell's longer side.
            times: where to count time; a new one if not given.
        """
        self._classifier = classifier
        self._cell_size = cell_size
        self._margin = margin
        self.times = times if times is not None else Times()

    def process(self, frame: Frame) -> tuple[ClassifiedCell, ...]:
        """Return the frame's cells, largest nucleus first."""
        with self.times.measure("find"):
            cells = find_cells(frame.image, cell_size=self._cell_size)
        return tuple(ClassifiedCell(cell, self._classify(frame, cell)) for cell in cells)

    def _classify(self, frame: Frame, cell: Cell) -> Classification:
        with self.times.measure("prepare"):
            pixels = self._classifier.prepare(crop(frame.image, cell, self._margin))
        with self.times.measure("infer"):
            return self._classifier.infer(pixels)
