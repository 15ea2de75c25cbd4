"""From a frame to classified cells, and where the time went.

Find → crop → prepare → infer; storing and showing the results are the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError, UnfitFrameError
from qlvit_edge.fields.bright import find_bright_cells, is_dark_field
from qlvit_edge.fields.census import Census, census
from qlvit_edge.fields.finder import CROP_MARGIN, Cell, crop, find_cells, is_grey
from qlvit_edge.fields.quality import CUT
from qlvit_edge.fields.target import target_of
from qlvit_edge.inference.classifier import Classification, Classifier

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
        find: str = "cells",
        um_per_pixel: float | None = None,
        times: Times | None = None,
        one_camera: bool = False,
    ) -> None:
        """Set up.

        Args:
            classifier: what classifies the crops.
            cell_size: diameter of a usual white cell as a share of the frame's short side; None:
                from the red cells of each frame.
            margin: surroundings in a crop, as a share of the cell's longer side.
            find: what is classified, see `qlvit_edge.fields.target`.
            um_per_pixel: the scale, for a region in µm; None where none is known.
            times: where to count time; a new one if not given.
            one_camera: all frames are of one camera: once cells were found, a grey frame (an
                empty field in uneven light, say) is one without cells and ends nothing.
        """
        self._classifier = classifier
        self._cell_size = cell_size
        self._margin = margin
        self._target = target_of(find)
        self._um_per_pixel = um_per_pixel
        self._one_camera, self._found = one_camera, False
        self.times = times if times is not None else Times()

    def process(self, frame: Frame) -> tuple[ClassifiedCell, ...]:
        """Return the frame's cells, largest nucleus first.

        Without a search the frame, or its region, is the only one; its nucleus has the area 0.

        Raises:
            UnfitFrameError: white cells are looked for in a grey or dark picture, bright ones on a
                bright ground, or the region reaches beyond the frame.
        """
        if self._target.kind in ("none", "region"):
            x, y, width, height = self._part(frame)
            part = frame.image[y : y + height, x : x + width]
            return (ClassifiedCell(Cell(x, y, width, height, 0.0), self._classify(part)),)
        with self.times.measure("find"):
            if not (self._one_camera and self._found):
                self._require_fit(frame)
            cells = _found_in(frame, self._cell_size, bright=self._target.kind == "bright")
            self._found |= bool(cells)
        return tuple(ClassifiedCell(cell, self._classify(frame.image, cell)) for cell in cells)

    def count(self, frame: Frame, cells: Sequence[ClassifiedCell]) -> Census | None:
        """Count red cells beside a frame's cells; None unless asked for."""
        if self._target.kind != "all":
            return None
        with self.times.measure("find"):
            white = [found.cell for found in cells]
            return census(frame.image, white, cell_size=self._cell_size)

    def _require_fit(self, frame: Frame) -> None:
        if self._target.kind == "bright":
            require_dark(frame.image, frame.source)
        else:
            require_colour(frame.image, frame.source)

    def _part(self, frame: Frame) -> tuple[int, int, int, int]:
        """What is classified without a search."""
        height, width = frame.image.shape[:2]
        if self._target.kind == "none":
            return 0, 0, width, height
        x, y, across, down = self._target.in_pixels(self._um_per_pixel)
        if x + across > width or y + down > height:
            raise UnfitFrameError(
                frame.source,
                f"the region {x},{y},{across},{down} (pixels) reaches beyond the frame of "
                f"{width} x {height}",
                "name one that lies in it: --find region:X,Y,W,H",
            )
        return x, y, across, down

    def _classify(self, image: NDArray[np.uint8], cell: Cell | None = None) -> Classification:
        with self.times.measure("prepare"):
            shown = image if cell is None else crop(image, cell, self._margin)
            pixels = self._classifier.prepare(shown)
        with self.times.measure("infer"):
            answer = self._classifier.infer(pixels)
        if cell is None or not cell.cut or not self._classifier.judges:
            return answer
        return of_a_part(answer)


def _found_in(frame: Frame, cell_size: float | None, *, bright: bool = False) -> list[Cell]:
    """Look for cells in the frame, or in its low-resolution copy; in pixels of the frame."""
    find = find_bright_cells if bright else find_cells
    if frame.small is None:
        return find(frame.image, cell_size=cell_size)
    height, width = frame.image.shape[:2]
    across, down = width / frame.small.shape[1], height / frame.small.shape[0]
    found = []
    for cell in find(frame.small, cell_size=cell_size):
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
        raise UnfitFrameError(
            source,
            "a grey picture of a stained smear, in which white cells cannot be told from red ones",
            "use a colour camera, or classify whole pictures (run: --find none; predict: without "
            "--find-cells)",
        )


def require_scale(find: str, um_per_pixel: float | None) -> None:
    """Refuse a region that cannot be told in pixels.

    Raises:
        DataError: it is in µm and no scale is known, or it is less than a pixel wide or high.
    """
    target = target_of(find)
    if target.kind == "region":
        try:
            target.in_pixels(um_per_pixel)
        except ValueError as error:
            raise DataError("--find", str(error), "see run --help") from error


def require_dark(image: NDArray[np.uint8], source: str) -> None:
    """Refuse an image in which bright cells on a dark ground cannot be found.

    Raises:
        DataError: its ground is bright.
    """
    if not is_dark_field(image):
        raise UnfitFrameError(
            source,
            "a picture with a bright ground, in which --find bright has nothing to find",
            "use --find cells for a stained smear, or --find none for whole pictures",
        )


def of_a_part(answer: Classification) -> Classification:
    """Return the answer on a cell that the frame's edge cuts: it is not accepted.

    Whole cells are counted: of a cut one the nucleus may be half a nucleus, and in overlapping
    frames it is there twice. What the guard rejects for another reason keeps that one.
    """
    if answer.verdict not in ("accepted", "uncertain"):
        return answer
    return replace(answer, verdict="abstained", reason=CUT)
