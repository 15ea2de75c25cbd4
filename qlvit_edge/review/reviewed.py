"""A run with its cells and its review, as they were at one moment."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.differential.differential import Differential
from qlvit_edge.errors import DataError
from qlvit_edge.review import log
from qlvit_edge.review.blind import BlindEstimate, estimate_of
from qlvit_edge.review.cells import ReviewCell, RunRow, cells_of, runs_of
from qlvit_edge.review.checks import added_labels, labels_of, left_to_do, reviewed_differential
from qlvit_edge.review.states import ReviewStatus


@dataclass(frozen=True)
class ReviewedRun:
    """A run with its cells and its review, of one moment.

    Attributes:
        run: the run.
        status: the state of its review.
        cells: its cells, each once.
        head: hash of its last record; None without one.
        signature: that makes it a result; None where it is not signed.
    """

    run: RunRow
    status: ReviewStatus
    cells: tuple[ReviewCell, ...]
    head: str | None
    signature: log.Signature | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that a cell can be given, the model's first."""
        return labels_of(self.cells)

    @property
    def added_labels(self) -> tuple[str, ...]:
        """Those of `labels` that people gave and the model does not have."""
        return added_labels(self.cells)

    def left_to_do(self) -> list[str]:
        """Return what stands against a signature; empty where nothing does."""
        ended = ["it goes on, or was killed"] if self.run.goes_on else []
        return ended + left_to_do(self.cells)

    def differential(self) -> Differential:
        """Return the differential of what people have confirmed or changed."""
        return reviewed_differential(self.cells)

    def blind_estimate(self) -> BlindEstimate | None:
        """Return how often the model's accepted answers are right; None if no cells were drawn."""
        return estimate_of(self.status, self.cells)


def reviewed_run(connection: sqlite3.Connection, path: Path, run: int | None) -> ReviewedRun:
    """Read a run, the last one for None.

    Raises:
        DataError: there is none of that number, or its records were altered.
    """
    row = run_row(connection, path, run)
    status = log.status_in(connection, path, row.run)
    cells = tuple(cells_of(connection, row.run, status))
    signature = log.signature_of(connection, row.run) if status.is_signed else None
    return ReviewedRun(row, status, cells, log.head_of(connection, row.run), signature)


def run_row(connection: sqlite3.Connection, path: Path, run: int | None) -> RunRow:
    """Return a run's row, that of the last one for None.

    Raises:
        DataError: there is none of that number.
    """
    runs = runs_of(connection)
    found = runs[-1:] if run is None else [row for row in runs if row.run == run]
    if not found:
        remedy = "`results list` shows its runs" if runs else "make one with `qlvit-edge run`"
        raise DataError(path, "it holds no run" if run is None else f"it has no run {run}", remedy)
    return found[0]
