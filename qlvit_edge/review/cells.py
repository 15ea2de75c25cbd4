"""A run's cells as they are reviewed: each once, with what the model and people say of it."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from qlvit_edge.differential.tally import DOUBTFUL, UNPLACED
from qlvit_edge.microscope import backends
from qlvit_edge.review.columns import known_columns, selection, typed
from qlvit_edge.review.states import Decision, ReviewStatus

EXCLUDED = "excluded"
"""What stands beside the differential because a person took it out."""


@dataclass(frozen=True)
class RunRow:
    """A run, as files of any format tell it.

    Attributes:
        run: its number.
        started: seconds since 1970, UTC.
        ended: the same; None while it goes on, and where it did not end.
        outcome: see `qlvit_edge.microscope.records.Outcome`.
        model: name of the model.
        model_sha256: hash of its file.
        runtime: the TFLite runtime.
        kernels: the kernels that ran; with an accelerator, how many frames each side computed.
        camera: the source.
        crop_margin: surroundings in a crop, as a share of the cell's longer side.
        program: the program that made it.
        sample: what the slide is called; None: not said.
        operator: who ran it; None: not said.
        calibration: of the camera, as JSON; None where there was none.
        familiar: whether the cells are what the model was made for; None: not known.
        statement: the same in words.
        counted_once: whether each cell of the slide is counted once; no of runs of files before
            format 6, which are shown as they were then.
    """

    run: int
    started: float
    ended: float | None
    outcome: str
    model: str
    model_sha256: str
    runtime: str
    kernels: str
    camera: str
    crop_margin: float
    program: str
    sample: str | None
    operator: str | None
    calibration: str | None
    familiar: bool | None
    statement: str | None
    counted_once: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether it goes on, or was killed and no other run has begun since."""
        return self.outcome == "running"

    @property
    def um_per_pixel(self) -> float | None:
        """Length of a frame's pixel in µm; None where it is not known."""
        scale = self.calibration_facts.get("um_per_pixel")
        if not isinstance(scale, int | float) or not math.isfinite(scale) or scale <= 0:
            return None
        return float(scale)

    @property
    def calibration_facts(self) -> dict[str, Any]:
        """What is stored of the camera's calibration, by name; empty where there was none."""
        try:
            found = json.loads(self.calibration or "{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class ReviewCell:
    """A cell of a run; of a run that counts cells once, all findings of one cell.

    Attributes:
        id: its number in the file; of several findings that of the one that shows it best.
        findings: numbers of all its findings.
        frame: number of the frame in its run.
        taken: when that was taken, seconds since 1970, UTC.
        source: the image file; "" of cameras.
        x: left edge in pixels of the frame.
        y: upper edge.
        width: of its box.
        height: of its box.
        frame_width: of the frame, in pixels.
        frame_height: of the frame.
        nucleus_area: in square pixels; 0 where nothing was looked for.
        label: the model's answer.
        probability: of that, from 0 to 1.
        probabilities: of all classes.
        verdict: see `qlvit_edge.choices.VERDICTS`.
        reason: why it is not accepted.
        cut: whether the frame's edge cuts it.
        unique_cell: its number on the slide; None where cells are not counted once.
        doubtful: whether it may be another finding of a counted cell; None: not known.
        uncounted: why it stands beside the differential whatever its class, `DOUBTFUL` or
            `UNPLACED` where each cell is counted once; None where nothing speaks against it.
        picture: the frame with its cells drawn in; None where it was not saved.
        kept: the frame as it is; None where it was not kept.
        decision: what a person said last; None where nobody did.
    """

    id: int
    findings: tuple[int, ...]
    frame: int
    taken: float
    source: str
    x: int
    y: int
    width: int
    height: int
    frame_width: int
    frame_height: int
    nucleus_area: float
    label: str
    probability: float
    probabilities: dict[str, float]
    verdict: str
    reason: str | None
    cut: bool
    unique_cell: int | None
    doubtful: bool | None
    uncounted: str | None
    picture: str | None
    kept: str | None
    decision: Decision | None

    @property
    def final(self) -> str | None:
        """Its class after review; None where it is excluded or nobody has looked at it."""
        if self.decision is None:
            return None
        if self.decision.kind == "confirm" and self.decision.label is None:
            return self.label
        return self.decision.label


@dataclass(frozen=True)
class FrameSummary:
    """What is stored of a run's frames.

    Attributes:
        frames: how many.
        dropped: images and frames that came damaged and were left out.
        unfit: frames that are not fit to be judged, by the reason.
        accept_at: smallest probability of an accepted answer.
    """

    frames: int
    dropped: int
    unfit: dict[str, int]
    accept_at: float


_RUN: Final = (
    *("id", "started", "ended", "outcome", "model", "model_sha256", "runtime", "kernels"),
    *("camera", "crop_margin", "program", "calibration", "familiar", "statement"),
)
_CELL: Final = (
    *("id", "x", "y", "width", "height", "nucleus_area", "label", "probability"),
    *("probabilities", "verdict", "reason", "cut", "unique_cell", "doubtful"),
)
_FRAME: Final = ("number", "timestamp", "source", "saved_as", "kept_as")


def runs_of(connection: sqlite3.Connection) -> list[RunRow]:
    """Return a file's runs, by number."""
    runs = selection(connection, "runs", _RUN)
    names = "NULL, NULL"
    if "sample_id" in known_columns(connection, "runs"):
        names = (
            "(SELECT name FROM samples WHERE samples.id = sample_id), "
            "(SELECT name FROM operators WHERE operators.id = operator_id)"
        )
    once = "counted_once" if "counted_once" in known_columns(connection, "runs") else "NULL"
    query = f"SELECT {runs}, {names}, {once} FROM runs ORDER BY id"  # noqa: S608 - names of ours, values bound
    rows = connection.execute(query).fetchall()
    computed = backends.in_words(connection)
    return [_run_row(row, computed) for row in rows]


def frame_summary(connection: sqlite3.Connection, run: int) -> FrameSummary:
    """Return what is stored of a run's frames."""
    unfit = selection(connection, "frames", ("unfit",))
    reasons = connection.execute(
        f"SELECT {unfit}, count(*) FROM frames WHERE run_id = ? GROUP BY 1",  # noqa: S608 - names of ours, values bound
        (run,),
    ).fetchall()
    dropped = selection(connection, "runs", ("dropped_frames",))
    row = connection.execute(f"SELECT accept_at, {dropped} FROM runs WHERE id = ?", (run,))  # noqa: S608 - names of ours, values bound
    accept_at, left_out = row.fetchone()
    return FrameSummary(
        frames=sum(number for _, number in reasons),
        dropped=int(left_out or 0),
        unfit={str(reason): number for reason, number in reasons if reason is not None},
        accept_at=float(accept_at),
    )


def _run_row(row: Sequence[Any], computed: Mapping[int, str]) -> RunRow:
    found = typed("run", (*_RUN, "sample", "operator", "counted_once"), row)
    found["counted_once"] = found["counted_once"] == 1
    found["run"] = found.pop("id")
    if found["run"] in computed:
        found["kernels"] += f"; {computed[found['run']]}"
    if found["familiar"] is not None:
        found["familiar"] = bool(found["familiar"])
    return RunRow(**found)


def cells_of(connection: sqlite3.Connection, run: int, status: ReviewStatus) -> list[ReviewCell]:
    """Return a run's cells in the order of their best findings."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for found in _findings(connection, run):
        unique = found["unique_cell"]
        key = ("cell", found["id"]) if unique is None else ("unique", unique)
        groups.setdefault(key, []).append(found)
    known = _unique_cells(connection, run)
    if known is None:
        cells = [_cell(group, _surest(group), status) for group in groups.values()]
    else:
        cells = [_unique(group, known, status) for group in groups.values()]
    return sorted(cells, key=lambda cell: cell.id)


def _unique_cells(connection: sqlite3.Connection, run: int) -> dict[int, tuple[int, bool]] | None:
    """Best finding of each unique cell and whether it is doubtful; None: not counted once."""
    if "counted_once" not in known_columns(connection, "runs"):
        return None
    if connection.execute("SELECT counted_once FROM runs WHERE id = ?", (run,)).fetchone() != (1,):
        return None
    names = ("number", "best", "doubtful")
    rows = connection.execute(
        f"SELECT {', '.join(names)} FROM unique_cells WHERE run_id = ?",  # noqa: S608 - names of ours, values bound
        (run,),
    )
    found = [typed("unique cell", names, row) for row in rows]
    return {one["number"]: (one["best"], bool(one["doubtful"])) for one in found}


def _unique(
    group: Sequence[dict[str, Any]], known: dict[int, tuple[int, bool]], status: ReviewStatus
) -> ReviewCell:
    """One cell of a run that counts each once, or one finding without a place."""
    best_id, doubtful = known.get(group[0]["unique_cell"], (None, None))
    best = next((one for one in group if one["id"] == best_id), None) or _surest(group)
    cell = _cell(group, best, status)
    uncounted = UNPLACED if cell.unique_cell is None else DOUBTFUL if doubtful else None
    decision = cell.decision
    if decision is not None and decision.kind == "confirm":
        # A better view may say otherwise later; what was looked at is what was confirmed.
        seen = [one for one in group if status.decision([one["id"]]) == decision]
        shown = best if best in seen else _surest(seen)
        decision = replace(decision, label=shown["label"])
    return replace(cell, doubtful=doubtful, uncounted=uncounted, decision=decision)


def _surest(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return max(group, key=lambda one: (not one["cut"], one["probability"], -one["id"]))


def _findings(connection: sqlite3.Connection, run: int) -> Iterator[dict[str, Any]]:
    names = (*_CELL, *_FRAME, "frame_width", "frame_height")
    of_cells = selection(connection, "cells", _CELL)
    of_frames = selection(connection, "frames", _FRAME)
    query = (
        f"SELECT {of_cells}, {of_frames}, "  # noqa: S608 - names of ours, values bound
        "frames.width, frames.height FROM cells JOIN frames ON frames.id = cells.frame_id "
        "WHERE frames.run_id = ? ORDER BY cells.id"
    )
    for row in connection.execute(query, (run,)):
        yield typed("cell", names, row)


def _cell(
    group: Sequence[dict[str, Any]], best: dict[str, Any], status: ReviewStatus
) -> ReviewCell:
    """One cell of all its findings, shown by one of them."""
    findings = tuple(sorted(one["id"] for one in group))
    doubtful = best["doubtful"]
    return ReviewCell(
        id=best["id"],
        findings=findings,
        frame=best["number"],
        taken=best["timestamp"],
        source=best["source"],
        frame_width=best["frame_width"],
        frame_height=best["frame_height"],
        picture=best["saved_as"],
        kept=best["kept_as"],
        probabilities=_probabilities(best["probabilities"]),
        cut=bool(best["cut"]),
        doubtful=None if doubtful is None else bool(doubtful),
        uncounted=None,
        decision=status.decision(findings),
        **{
            name: best[name]
            for name in (
                *("x", "y", "width", "height", "nucleus_area", "label", "probability"),
                *("verdict", "reason", "unique_cell"),
            )
        },
    )


def _probabilities(text: str) -> dict[str, float]:
    try:
        found = json.loads(text)
        return {str(label): float(value) for label, value in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
