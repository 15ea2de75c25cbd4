"""From a frame to classified cells, and where the time went.

Find → crop → prepare, then infer: two halves, which a run does side by side. Storing and showing
the results are the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.differential.white_cells import is_platelet
from qlvit_edge.errors import DataError, UnfitFrameError
from qlvit_edge.fields.bright import find_bright_cells, is_dark_field
from qlvit_edge.fields.census import Census, census
from qlvit_edge.fields.finder import CROP_MARGIN, Cell, Search, crop, is_grey, search
from qlvit_edge.fields.quality import CUT
from qlvit_edge.fields.scale import Scale
from qlvit_edge.fields.target import target_of
from qlvit_edge.inference.classifier import Classification, Classifier

NEEDED_WORK = ("capture", "find", "infer", "count", "place")
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


@dataclass(frozen=True)
class Sight:
    """What is to be classified of a frame.

    Attributes:
        frame: the frame.
        cells: where; largest nucleus first.
        inputs: what the network is fed for each.
        scale: the size of its red cells, in pixels of the frame; None where none was sought.
    """

    frame: Frame
    cells: tuple[Cell, ...]
    inputs: tuple[NDArray[np.uint8], ...]
    scale: Scale | None = None


@dataclass
class Times:
    """Wall-clock seconds by what they were spent on, since this was made; by any thread.

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

    def leave_out(self, name: str, seconds: float) -> None:
        """Take seconds that only passed, within a block that is measured, out of all figures."""
        self.spent[name] = self.spent.get(name, 0.0) - seconds
        self._started += seconds

    def total(self) -> float:
        """Return the seconds since this was made, without those left out."""
        return time.perf_counter() - self._started

    def shares(self) -> dict[str, float]:
        """Return each name's share of the total, and the rest as ``"other"``; sum 1.

        Where threads worked side by side for longer than that, of their time together.
        """
        spent = dict(self.spent)
        total = max(self.total(), sum(spent.values()), 1e-9)
        shares = {name: seconds / total for name, seconds in spent.items()}
        return {**shares, "other": max(0.0, 1.0 - sum(shares.values()))}


class Pipeline:
    """Finds and classifies the cells of frames.

    Attributes:
        times: seconds spent on ``find``, ``prepare`` (crop and resize), ``infer`` and ``count``.
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
        infer: Callable[[NDArray[np.uint8]], Classification] | None = None,
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
            infer: classifies what ``classifier`` prepared; by default that does it.
        """
        self._classifier = classifier
        self._infer = classifier.infer if infer is None else infer
        self._cell_size = cell_size
        self._margin = margin
        self._target = target_of(find)
        self._um_per_pixel = um_per_pixel
        self._one_camera, self._found = one_camera, False
        self.times = times if times is not None else Times()

    def process(self, frame: Frame) -> tuple[ClassifiedCell, ...]:
        """Return the frame's cells, largest nucleus first; see `look`."""
        return self.answer(self.look(frame))

    def look(self, frame: Frame) -> Sight:
        """Find what is to be classified, and prepare it.

        Without a search the frame, or its region, is the only one; its nucleus has the area 0.

        Raises:
            UnfitFrameError: white cells are looked for in a grey or dark picture, bright ones on a
                bright ground, or the region reaches beyond the frame.
        """
        if self._target.kind in ("none", "region"):
            x, y, width, height = self._part(frame)
            part = frame.image[y : y + height, x : x + width]
            with self.times.measure("prepare"):
                pixels = self._classifier.prepare(part)
            return Sight(frame, (Cell(x, y, width, height, 0.0),), (pixels,))
        with self.times.measure("find"):
            if not (self._one_camera and self._found):
                self._require_fit(frame)
            found = _found_in(frame, self._cell_size, bright=self._target.kind == "bright")
            self._found |= bool(found.cells)
        with self.times.measure("prepare"):
            inputs = tuple(
                self._classifier.prepare(crop(frame.image, cell, self._margin))
                for cell in found.cells
            )
        return Sight(frame, tuple(found.cells), inputs, found.scale)

    def answer(self, sight: Sight) -> tuple[ClassifiedCell, ...]:
        """Classify what was found.

        Raises:
            Exception: what the function that classifies raises.
        """
        return tuple(
            ClassifiedCell(cell, self._classify(cell, pixels))
            for cell, pixels in zip(sight.cells, sight.inputs, strict=True)
        )

    def count(self, sight: Sight, found: Sequence[ClassifiedCell]) -> Census | None:
        """Count red cells and platelets beside what was found.

        Args:
            sight: a frame and what was found in it.
            found: the same with answers; none where the runtime failed on the frame.

        Returns:
            The count; None unless it is asked for, and where cells are too small to be counted.
        """
        if self._target.kind != "all":
            return None
        large = [one.cell for one in found if _is_platelet(one.classification)]
        white = [cell for cell in sight.cells if cell not in large]
        with self.times.measure("count"):
            return census(
                sight.frame.image, white, large, cell_size=self._cell_size, scale=sight.scale
            )

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

    def _classify(self, cell: Cell, pixels: NDArray[np.uint8]) -> Classification:
        with self.times.measure("infer"):
            answer = self._infer(pixels)
        return of_a_part(answer) if cell.cut and self._classifier.judges else answer


def _is_platelet(answer: Classification) -> bool:
    """Whether a cell was accepted as a platelet; the largest are found as white cells are."""
    return answer.verdict == "accepted" and is_platelet(answer.label)


def _found_in(frame: Frame, cell_size: float | None, *, bright: bool = False) -> Search:
    """Look for cells in the frame, or in its low-resolution copy; in pixels of the frame."""
    shown = frame.image if frame.small is None else frame.small
    if bright:
        result = Search(find_bright_cells(shown, cell_size=cell_size), None)
    else:
        result = search(shown, cell_size=cell_size)
    if frame.small is None:
        return result
    height, width = frame.image.shape[:2]
    across, down = width / frame.small.shape[1], height / frame.small.shape[0]
    found = []
    for cell in result.cells:
        x, y = round(cell.x * across), round(cell.y * down)
        right = min(width, round((cell.x + cell.width) * across))
        bottom = min(height, round((cell.y + cell.height) * down))
        area = cell.area * across * down
        found.append(Cell(x, y, right - x, bottom - y, area, cut=cell.cut))
    scale = result.scale
    return Search(found, scale and replace(scale, red_cell=scale.red_cell * across))


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
