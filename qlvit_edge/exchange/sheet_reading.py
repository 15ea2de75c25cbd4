"""What a report sheet shows of a run, read from its results file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from qlvit_edge.differential.tally import DOUBTFUL, UNPLACED
from qlvit_edge.exchange.sheet import Sheet
from qlvit_edge.exchange.sheet_cells import shown_cells
from qlvit_edge.microscope.stored_count import read_count, stored_differential
from qlvit_edge.review.cells import frame_summary
from qlvit_edge.review.opening import reading
from qlvit_edge.review.store import reviewed_run


def read_sheet(results: Path, run: int | None, model: Path | None) -> Sheet:
    """Read a run.

    Args:
        results: the results file.
        run: its number; None: the last.
        model: the run's model file, which knows its mistakes; None: without.

    Raises:
        DataError: the file cannot be read, or has no such run.
        ModelFileError: the model cannot be read, or is not the run's.
    """
    with reading(results) as connection:
        seen = reviewed_run(connection, results, run)
        frames = frame_summary(connection, seen.run.run)
    stored = read_count(results, seen.run.run)
    # Each cell once, also where it was found in several frames.
    kinds = Counter(
        (cell.label, cell.verdict, cell.cut, cell.uncounted == DOUBTFUL)
        for cell in seen.cells
        if cell.uncounted != UNPLACED  # these are counted as findings
    )
    cells = tuple((*kind, number) for kind, number in kinds.items())
    counted = stored_differential(replace(stored, cells=cells), model, None)
    shown, finding = shown_cells(results, seen)
    return Sheet(seen, frames, counted, shown, finding)
