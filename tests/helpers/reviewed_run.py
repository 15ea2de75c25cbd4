"""Results files with cells to review, with the frames they were found in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from results_rows import INFO

from qlvit_edge.camera.base import Frame
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pictures import keep_picture
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.records import FrameRecord, RunInfo
from qlvit_edge.microscope.results import Results
from qlvit_edge.review.store import ReviewStore

SAMPLE = "S-0815"
OF_SAMPLE = replace(INFO, sample=SAMPLE, operator="Olga")


def found(label: str = "RED", verdict: str = "accepted", x: int = 8) -> ClassifiedCell:
    """A cell of 20 × 16 pixels that the model calls ``label``."""
    other = "BLUE" if label == "RED" else "RED"
    answer = Classification(label, 0.75, {label: 0.75, other: 0.25}, verdict)  # type: ignore[arg-type]
    return ClassifiedCell(Cell(x, 10, 20, 16, 150.0), answer)


def write_run(
    path: Path,
    *frames: list[ClassifiedCell],
    info: RunInfo = OF_SAMPLE,
    keep: Path | None = None,
) -> int:
    """Store a run of some frames, which are all different; return its number."""
    with Results(path, info) as results:
        for index, cells in enumerate(frames):
            pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
            frame = Frame(pixels, index, 1000.0 + index, f"{index}.png")
            kept = None if keep is None else keep_picture(keep, results.run_id, frame)
            results.add_frames([FrameRecord.of(frame, cells, kept_as=kept)])
        return results.run_id


def sign_run(path: Path, run: int = 1, by: str = "Ann") -> None:
    """Confirm every cell that nobody has decided on, and sign."""
    with ReviewStore(path) as store:
        left = [cell.id for cell in store.run(run).cells if cell.decision is None]
        if left:
            store.confirm(run, left, by)
        store.done(run, by)
        store.sign(run, by)
