"""One flat row per cell, for tables that leave the file: every row says what it is worth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.chain import canonical
from qlvit_edge.review.store import ReviewedRun

COLUMNS: Final[dict[str, type]] = {
    **{"status": str, "sample": str, "operator": str, "run": int, "cell": int, "findings": int},
    **{"frame": int, "taken_utc": str, "source": str},
    **{"x_px": int, "y_px": int, "width_px": int, "height_px": int, "nucleus_px2": float},
    **{"um_per_pixel": float, "label": str, "probability": float, "probabilities": str},
    **{"verdict": str, "reason": str, "cut_by_edge": bool, "unique_cell": int, "doubtful": bool},
    **{"not_counted": str},
    **{"decision": str, "final_label": str, "decided_by": str, "decision_reason": str},
    **{"model": str, "model_sha256": str, "runtime": str, "kernels": str, "program": str},
    **{"camera": str, "camera_calibration": str},
}
"""Names and types; any but status, run, cell, frame and the box may be empty."""


def rows_of(seen: ReviewedRun) -> Iterator[dict[str, Any]]:
    """Yield a run's cells with the columns of `COLUMNS`, None where there is nothing to say."""
    run = seen.run
    shared = {
        "status": seen.status.statement(),
        "sample": run.sample,
        "operator": run.operator,
        "run": run.run,
        "um_per_pixel": run.um_per_pixel,
        "model": run.model,
        "model_sha256": run.model_sha256,
        "runtime": run.runtime,
        "kernels": run.kernels,
        "program": run.program,
        "camera": run.camera,
        "camera_calibration": run.calibration,
    }
    for cell in seen.cells:
        row = {**shared, **_of_cell(cell)}
        yield {name: row[name] for name in COLUMNS}


def _of_cell(cell: ReviewCell) -> dict[str, Any]:
    decision = cell.decision
    return {
        "cell": cell.id,
        "findings": len(cell.findings),
        "frame": cell.frame,
        "taken_utc": in_words(cell.taken),
        "source": cell.source,
        "x_px": cell.x,
        "y_px": cell.y,
        "width_px": cell.width,
        "height_px": cell.height,
        "nucleus_px2": cell.nucleus_area or None,
        "label": cell.label,
        "probability": cell.probability,
        "probabilities": canonical(cell.probabilities),
        "verdict": cell.verdict,
        "reason": cell.reason,
        "cut_by_edge": cell.cut,
        "unique_cell": cell.unique_cell,
        "doubtful": cell.doubtful,
        "not_counted": cell.uncounted,
        "decision": None if decision is None else decision.kind,
        "final_label": cell.final,
        "decided_by": None if decision is None else decision.by,
        "decision_reason": None if decision is None else decision.reason,
    }


def in_words(seconds: float) -> str:
    """Return a time since 1970 as ISO 8601 in UTC; one that no calendar has as a number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
