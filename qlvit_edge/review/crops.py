"""Cells cut out of their frames: one folder per class, as `train` and `adapt` take them."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import nfc
from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.frames import frames_with_cells, require_kept, shown_to_model
from qlvit_edge.review.rows import rows_of
from qlvit_edge.review.store import ReviewedRun
from qlvit_edge.review.tables import write_csv

SOURCES = "sources.csv"
"""Beside the class folders: which sample each picture is of, for `data split --groups`."""

TABLE = "cells.csv"
"""Beside them, too: what is stored of the cells, and whether it is signed."""


@dataclass(frozen=True)
class CropTree:
    """What was written.

    Attributes:
        images: pictures by class.
        left_out: classes of one cell, which `train` does not take.
    """

    images: dict[str, int]
    left_out: tuple[str, ...]


def write_crops(
    results: Path,
    target: Path,
    seen: list[ReviewedRun],
    *,
    reviewed: bool,
    leaving: Callable[[], None] = lambda: None,
) -> CropTree:
    """Write cells as PNG into a new folder, one folder per class.

    Args:
        results: the results file.
        target: the folder, which must not be there or be empty.
        seen: the runs.
        reviewed: only cells that people confirmed or changed, under their class; else all but
            excluded ones, under the class that people or, where nobody has, the model gave.
        leaving: is called when all is written, before it gets its name.

    Raises:
        DataError: frames were not kept, no cell is left, a class cannot be a folder, or the
            target is in use; nothing is left behind.
    """
    chosen = [(run, _chosen(run, reviewed)) for run in seen]
    counts = Counter(_folder(label) for _, cells in chosen for label in cells.values())
    few = {name for name, number in counts.items() if number < 2} if reviewed else set()
    if not set(counts) - few:
        finding = "no cell was confirmed or changed" if reviewed else "there are no cells"
        if counts:
            finding = "no class has two reviewed cells"
        raise DataError(results, finding, "review some with `qlvit-edge results review`")
    for run, cells in chosen:
        require_kept(results, run, [cell for cell in run.cells if cell.id in cells])
    with new_folder(target) as folder:
        sources: list[tuple[str, str, str]] = []
        for run, cells in chosen:
            wanted = {cell: label for cell, label in cells.items() if _folder(label) not in few}
            sources += _write_run(results, folder, run, wanted)
        with (folder / SOURCES).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("class", "file", "source"), *sorted(sources)])
        write_csv(folder / TABLE, (row for run, _ in chosen for row in rows_of(run)))
        leaving()
    written = {name: counts[name] for name in sorted(set(counts) - few)}
    return CropTree(written, tuple(sorted(few)))


def _chosen(run: ReviewedRun, reviewed: bool) -> dict[int, str]:
    """Cells by number, with their class."""
    found = {}
    for cell in run.cells:
        label = cell.final
        if cell.decision is None and not reviewed:
            label = cell.label
        if label is not None:
            found[cell.id] = label
    return found


def _write_run(
    results: Path, folder: Path, run: ReviewedRun, labels: dict[int, str]
) -> list[tuple[str, str, str]]:
    cells = [cell for cell in run.cells if cell.id in labels]
    source = run.run.sample or f"run {run.run.run}"
    found = []
    for _, image, of_frame in frames_with_cells(results, cells):
        for cell in of_frame:
            name = _folder(labels[cell.id])
            file = f"run{run.run.run:03d}-cell{cell.id:07d}.png"
            (folder / name).mkdir(exist_ok=True)
            _write(folder / name / file, image, cell, run.run.crop_margin)
            found.append((name, file, source))
    return found


def _write(path: Path, image: NDArray[np.uint8], cell: ReviewCell, margin: float) -> None:
    shown = shown_to_model(image, cell, margin)
    good, content = cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
    if not good:
        raise ValueError(f"cell {cell.id} cannot be written as PNG")
    path.write_bytes(content.tobytes())


def _folder(label: str) -> str:
    """Return the name of a class's folder.

    Raises:
        DataError: it cannot be one.
    """
    name = nfc(label)
    odd = not name.isprintable() or name != name.strip() or not name or "/" in name
    if odd or name.startswith(".") or len(name.encode()) > 200:
        finding = f"{label[:60]!a} cannot be the name of a folder"
        raise DataError("class", finding, "give these cells another class")
    return name


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that gets its name once it is whole.

    Raises:
        DataError: there is something of that name.
    """
    if target.is_dir() and not target.is_symlink():
        if any(target.iterdir()):
            raise DataError(target, "is not empty", "name a new folder")
    elif target.exists() or target.is_symlink():
        raise DataError(target, "is there already", "name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}-", dir=target.parent))
    try:
        yield folder
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)
        folder.replace(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
