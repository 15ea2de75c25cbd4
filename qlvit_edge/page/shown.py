"""A run's review as the page gets it: plain values, and nothing that a blind reader may not see."""

from __future__ import annotations

from typing import Any

from qlvit_edge.errors import DataError
from qlvit_edge.page.crops import Crops
from qlvit_edge.review.cells import ReviewCell, RunRow
from qlvit_edge.review.reviewed import ReviewedRun

MOST_CELLS = 5000
"""Cells of a run that the page shows."""


def covered(seen: ReviewedRun, crops: Crops) -> set[int]:
    """Return the drawn cells that are still to be classed without the model's answer.

    One whose picture has gone cannot be, and is shown like all others.
    """
    left = set(seen.status.drawn) - set(seen.status.blind)
    return {cell.id for cell in seen.cells if cell.id in left and crops.kind(cell) == "kept"}


def run_in_list(row: RunRow) -> dict[str, Any]:
    """Return what tells a run from others."""
    return {
        "run": row.run,
        "started": row.started,
        "outcome": row.outcome,
        "model": row.model,
        "sample": row.sample,
        "operator": row.operator,
        "goes_on": row.goes_on,
        "simulated": row.camera.startswith("simulated:"),
        "familiar": row.familiar,
        "statement": row.statement,
    }


def shown_run(seen: ReviewedRun, crops: Crops, results: str) -> dict[str, Any]:
    """Return a run with its cells and its review.

    Raises:
        DataError: it has too many cells for a page.
    """
    if len(seen.cells) > MOST_CELLS:
        finding = f"run {seen.run.run} has {len(seen.cells)} cells, more than a page shows"
        raise DataError(results, finding, "review it with `qlvit-edge results review`")
    status, hidden = seen.status, covered(seen, crops)
    estimate, found = seen.blind_estimate(), seen.differential()
    return {
        **run_in_list(seen.run),
        "state": status.state,
        "statement_of_review": status.statement(),
        "done_by": status.done_by,
        "signed_by": list(status.signed_by),
        "readers": status.readers,
        "records": status.records,
        "last": status.last_decision(),
        "head": seen.head,
        "left": seen.left_to_do(),
        "labels": list(seen.labels),
        "cells": [_cell(cell, crops, hidden=cell.id in hidden) for cell in seen.cells],
        "differential": [
            {"label": one.label, "count": one.count, "share": one.share, "limits": one.limits}
            for one in found.classes
            if one.count
        ],
        "beside": {name: n for name, n in {**found.apart, **found.beside}.items() if n},
        "drawn": list(status.drawn),
        "covered": [cell for cell in status.drawn if cell in hidden],
        "estimate": None if estimate is None else estimate.as_dict(),
    }


def _cell(cell: ReviewCell, crops: Crops, *, hidden: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": cell.id,
        "frame": cell.frame,
        "source": cell.source,
        "findings": len(cell.findings),
        "picture": crops.kind(cell),
        "hidden": hidden,
    }
    if hidden:
        return found
    others = [(value, label) for label, value in cell.probabilities.items() if label != cell.label]
    second = max(others, default=None)
    decision = cell.decision
    return {
        **found,
        "label": cell.label,
        "probability": cell.probability,
        "second": None if second is None else second[1],
        "verdict": cell.verdict,
        "reason": cell.reason,
        "cut": cell.cut,
        "doubtful": cell.doubtful,
        "not_counted": cell.uncounted,
        "decision": None if decision is None else decision.kind,
        "by": None if decision is None else decision.by,
        "why": None if decision is None else decision.reason,
        "final": cell.final,
    }
