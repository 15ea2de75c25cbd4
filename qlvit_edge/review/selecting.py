"""Which runs of a results file are meant."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.review.cells import runs_of
from qlvit_edge.review.log import signature_of
from qlvit_edge.review.names import is_sample
from qlvit_edge.review.opening import reading
from qlvit_edge.review.store import Also, ReviewedRun, reviewed_run, run_row


def selected(results: Path, runs: Sequence[int], sample: str | None) -> list[ReviewedRun]:
    """Return runs with their cells, of one moment.

    Args:
        results: the results file.
        runs: their numbers; none: all.
        sample: only runs of this sample; None: of any.

    Raises:
        DataError: there is no run of such a number, or none is left.
    """
    with reading(results) as connection:
        for run in runs:
            run_row(connection, results, run)
        rows = [
            row
            for row in runs_of(connection)
            if (not runs or row.run in runs) and (sample is None or is_sample(row.sample, sample))
        ]
        if not rows:
            finding = "it holds no run" if sample is None else f"it has no sample {sample!r}"
            raise DataError(results, finding, "`results list` shows what there is")
        return [reviewed_run(connection, results, row.run) for row in rows]


def selected_runs(results: Path, runs: Sequence[int], sample: str | None) -> list[int]:
    """Return the numbers of runs; arguments and errors as of `selected`."""
    return [one.run.run for one in selected(results, runs, sample)]


def unchanged(results: Path, seen: ReviewedRun) -> Also:
    """Return what refuses to record that a signed run leaves if it was signed anew since.

    That it left meanwhile, elsewhere, changes nothing in it.
    """

    def require(connection: sqlite3.Connection) -> None:
        if signature_of(connection, seen.run.run) != seen.signature:
            raise DataError(results, f"run {seen.run.run} was changed meanwhile", "start again")

    return require
