"""Pictures of a run's cells for the review: cut from the frames that the run saved."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.preprocess import decode
from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.frames import located, shown_to_model
from qlvit_edge.review.reviewed import ReviewedRun

Kind = Literal["kept", "annotated"]
"""A frame as it was, or one with its cells and the model's answers drawn in."""

LARGEST = 32 * 2**20
"""Bytes of crops that are kept ready."""

FIELD_WIDTH = 1600
_BOX = (255, 207, 102)
_NO_CROP = b""


class Crops:
    """Pictures of cells of one results file; any thread may ask."""

    def __init__(self, results: Path) -> None:
        """Remember where the results are.

        Args:
            results: the results file; pictures are named in it.
        """
        self._results = results
        self._lock = threading.Lock()
        self._ready: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0

    def kind(self, cell: ReviewCell) -> Kind | None:
        """Return what a cell's picture would be cut from; None where there is nothing."""
        if cell.kept is not None and located(self._results, cell.kept) is not None:
            return "kept"
        if cell.picture is not None and located(self._results, cell.picture) is not None:
            return "annotated"
        return None

    def crop(self, seen: ReviewedRun, cell: ReviewCell) -> bytes | None:
        """Return what the model saw of a cell as PNG; None where there is no picture.

        All cells of a frame are cut at once: they are asked for in no order of frames. An empty
        picture is one of a cell whose box is not in its frame: the file is damaged.
        """
        key = seen.run.run, cell.id
        with self._lock:
            if key in self._ready:
                self._ready.move_to_end(key)
                return self._ready[key]
            image = self._frame(cell)
            if image is None:
                return None
            wanted = _cut(image, cell, seen.run.crop_margin)
            for one in seen.cells:
                if one.frame == cell.frame:
                    self._keep((seen.run.run, one.id), _cut(image, one, seen.run.crop_margin))
            return wanted

    def field(self, cell: ReviewCell) -> bytes | None:
        """Return the frame around a cell as JPEG, with a box around the cell and nothing else."""
        image = self._frame(cell)
        if image is None:
            return None
        drawn = image.copy()
        line = max(2, round(drawn.shape[1] / 320))
        near = max(0, cell.x - line), max(0, cell.y - line)
        far = cell.x + cell.width + line - 1, cell.y + cell.height + line - 1
        cv2.rectangle(drawn, near, far, _BOX, line)
        height, width = drawn.shape[:2]
        if width > FIELD_WIDTH:
            size = FIELD_WIDTH, max(1, round(height * FIELD_WIDTH / width))
            drawn = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8)
        return _encoded(drawn, ".jpg")

    def _frame(self, cell: ReviewCell) -> NDArray[np.uint8] | None:
        """Return a cell's frame, (H, W, 3) uint8 RGB; None if there is none that can be its."""
        kind = self.kind(cell)
        if kind is None:
            return None
        path = located(self._results, str(cell.kept if kind == "kept" else cell.picture))
        if path is None:  # gone meanwhile
            return None
        try:
            image = decode(path)
        except (QLViTEdgeError, OSError):
            return None
        fits = image.shape[:2] == (cell.frame_height, cell.frame_width)
        return image if fits else None

    def _keep(self, key: tuple[int, int], content: bytes) -> None:
        """Keep a crop ready, and let those go that nobody has asked for for the longest time."""
        self._bytes += len(content) - len(self._ready.pop(key, b""))
        self._ready[key] = content
        while self._bytes > LARGEST and len(self._ready) > 1:
            self._bytes -= len(self._ready.popitem(last=False)[1])


def _cut(image: NDArray[np.uint8], cell: ReviewCell, margin: float) -> bytes:
    try:
        shown = shown_to_model(image, cell, margin)
    except ValueError:  # a damaged file: the box is not in the frame
        return _NO_CROP
    return _encoded(shown, ".png") if shown.size else _NO_CROP


def _encoded(image: NDArray[np.uint8], ending: str) -> bytes:
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1] if ending == ".png" else []
    good, content = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), fast)
    return content.tobytes() if good else _NO_CROP
