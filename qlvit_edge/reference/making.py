"""A reference set from a signed run: its kept frames, and what people say of their cells."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.files import write_text
from qlvit_edge.presence import present
from qlvit_edge.reference.reference_set import TABLE, LabelledCell, table_text
from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.crops import new_folder
from qlvit_edge.review.frames import frames_with_cells, require_kept
from qlvit_edge.review.selecting import unchanged
from qlvit_edge.review.store import ReviewedRun, ReviewStore


def make_reference(store: ReviewStore, seen: ReviewedRun, target: Path, by: str) -> Counter[str]:
    """Write a new folder with the frames of a signed run and the table of its cells.

    Excluded cells are not in it. That the run left is recorded, when all is written and before
    the folder has its name.

    Args:
        store: the results file, open.
        seen: the run.
        target: the folder, which must not be there or be empty.
        by: who makes it.

    Returns:
        How many cells there are of each class.

    Raises:
        DataError: the run is not signed, holds no cell that counts, frames were not kept, the
            target is in use, or the run was signed anew meanwhile; nothing is left behind.
    """
    run, results = seen.run.run, store.path
    if not seen.status.is_signed:
        finding = f"run {run} is not signed, and only what people answer for is a reference"
        raise DataError(results, finding, f"qlvit-edge results sign {results} --run {run}")
    cells = [cell for cell in seen.cells if cell.final is not None]
    if not cells:
        raise DataError(results, f"run {run} has no cell that counts", "choose another run")
    if any(cell.nucleus_area == 0 for cell in cells):
        finding = f"no cells were looked for in run {run}: its frames are whole answers"
        raise DataError(results, finding, "choose a run that finds cells")
    require_kept(results, seen, cells)
    with new_folder(target) as folder:
        rows: list[tuple[str, LabelledCell]] = []
        for path, _, of_frame in frames_with_cells(results, cells):
            shutil.copyfile(path, folder / path.name)
            rows += [(path.name, _labelled(cell)) for cell in of_frame]
        write_text(folder / TABLE, table_text(rows))
        store.export(run, to=target.name, by=by, also=unchanged(results, seen))
    return Counter(cell.label for _, cell in rows)


def _labelled(cell: ReviewCell) -> LabelledCell:
    label = present(cell.final, "the class that a cell was given")
    return LabelledCell((cell.x, cell.y, cell.width, cell.height), label)
