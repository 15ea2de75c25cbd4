"""Frames of a run as they were, from the pictures that `run --keep` saved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import Cell, crop
from qlvit_edge.preprocess import decode
from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.store import ReviewedRun


def located(results: Path, name: str) -> Path | None:
    """Return a saved picture: where the run saved it, or there from the results file's folder."""
    for place in (Path(name), results.absolute().parent / name):
        if place.is_file():
            return place
    return None


def require_kept(results: Path, seen: ReviewedRun, cells: list[ReviewCell]) -> None:
    """Refuse cells whose frames were not kept, before anything is written.

    Raises:
        DataError: a frame was not kept, or its picture is gone.
    """
    run = seen.run.run
    if any(cell.kept is None for cell in cells):
        finding = f"the frames of run {run} were not kept"
        raise DataError(results, finding, "name a folder with `run --keep` the next time")
    for name in sorted({str(cell.kept) for cell in cells}):
        if located(results, name) is None:
            finding = f"{name}, a frame of run {run}, is not there"
            raise DataError(results, finding, "start in the folder where the run was started")


def frames_with_cells(
    results: Path, cells: list[ReviewCell]
) -> Iterator[tuple[Path, NDArray[np.uint8], list[ReviewCell]]]:
    """Yield each kept frame, (H, W, 3) uint8 RGB, with its cells.

    Raises:
        DataError: a picture is gone, does not decode, or is not the frame's.
    """
    for name, of_frame in groupby(
        sorted(cells, key=lambda cell: (str(cell.kept), cell.id)), key=lambda cell: str(cell.kept)
    ):
        path = located(results, name)
        if path is None:
            raise DataError(results, f"{name} is not there any more", "leave the pictures in place")
        image, found = decode(path), list(of_frame)
        for cell in found:
            if image.shape[:2] != (cell.frame_height, cell.frame_width):
                finding = f"is not the frame of cell {cell.id}: it has another size"
                raise DataError(path, finding, "leave the pictures as they were saved")
        yield path, image, found


def shown_to_model(image: NDArray[np.uint8], cell: ReviewCell, margin: float) -> NDArray[np.uint8]:
    """Return what of a frame the model saw of a cell, (H, W, 3) uint8 RGB."""
    if cell.nucleus_area == 0:  # nothing was looked for: the frame, or its region
        return image[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width]
    return crop(image, Cell(cell.x, cell.y, cell.width, cell.height, cell.nucleus_area), margin)
