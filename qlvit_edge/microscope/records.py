"""What is stored: of a run, and of a frame with its cells, without the pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qlvit_edge.camera.base import Frame
from qlvit_edge.differential.unique_cells import BestView
from qlvit_edge.fields.census import Census
from qlvit_edge.fields.quality import kind_of
from qlvit_edge.inference.accelerator import Backend
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.slide.placement import Placement

Outcome = Literal[
    "running", "finished", "counted", "stopped", "interrupted", "failed", "did not end"
]
"""How a run ended.

- running: it has not;
- finished: the source ended, or enough frames were seen;
- counted: as many cells were counted as were asked for;
- stopped: on request (Ctrl-C, SIGTERM, or the terminal was closed), with all its frames stored;
- interrupted: a second Ctrl-C, which waits for nothing;
- failed: an error;
- did not end: killed, or the power went; noted when the file is opened for the next run.
"""


def outcome_of(kind: type[BaseException] | None) -> Outcome:
    """Return how a run ended that was left for an error of that class, or without one."""
    if kind is None:
        return "finished"
    return "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"


FRAME_COLUMNS = (
    *("number", "timestamp", "source", "width", "height", "saved_as", "position_ms"),
    *("unfit", "kept_as"),
)

CELL_COLUMNS = (
    *("x", "y", "width", "height", "nucleus_area", "label"),
    *("probability", "probabilities", "verdict", "cut", "reason"),
    *("island", "slide_x", "slide_y", "unique_cell"),
)


@dataclass(frozen=True)
class RunInfo:
    """What a run is made with; one column of `runs` each.

    Attributes:
        model: the model's name.
        model_sha256: hash of the model file.
        runtime: the TFLite runtime.
        kernels: the kernels that really run, in words.
        camera: the camera's source, without credentials.
        cell_size: see `qlvit_edge.fields.finder.find_cells`; 0: from each frame's red cells.
        crop_margin: see `qlvit_edge.fields.finder.crop`.
        accept_at: probability from which a label is accepted.
        program: the program and its version.
        find: what was looked for, see `qlvit_edge.fields.target`.
        calibration: the camera's calibration as JSON: hash of the file, scale and where that
            comes from; None where there is none.
        sample: what the slide is called; None: not said.
        operator: who runs it; None: not said.
        counted_once: whether each cell of the slide is counted once, not in every frame.
    """

    model: str
    model_sha256: str
    runtime: str
    kernels: str
    camera: str
    cell_size: float
    crop_margin: float
    accept_at: float
    program: str
    find: str = "cells"
    calibration: str | None = None
    sample: str | None = None
    operator: str | None = None
    counted_once: bool = False


@dataclass(frozen=True)
class FrameRecord:
    """A frame as it is stored; small, so that many can wait.

    Attributes:
        frame: the values of `FRAME_COLUMNS`.
        cells: the values of `CELL_COLUMNS`, one tuple per cell.
        placement: where the frame lies on the slide; None where cells are not counted once.
        census: cells that count, by kind; None where that was not asked for.
        backend: what computed the answers; None in runs without an accelerator.
    """

    frame: tuple[object, ...]
    cells: tuple[tuple[object, ...], ...]
    placement: Placement | None = None
    census: dict[str, int] | None = None
    backend: Backend | None = None

    @classmethod
    def of(
        cls,
        frame: Frame,
        cells: Sequence[ClassifiedCell],
        saved_as: Path | None = None,
        unfit: str | None = None,
        placement: Placement | None = None,
        census: Census | None = None,
        kept_as: Path | None = None,
    ) -> FrameRecord:
        """Note a frame and its cells.

        Args:
            frame: the frame.
            cells: its cells.
            saved_as: where its annotated picture was saved.
            unfit: why the frame is not fit to be judged, see `frame_finding`.
            placement: where it lies on the slide.
            census: what else was counted in it.
            kept_as: where it was saved as it is.
        """
        height, width = frame.image.shape[:2]
        row = (
            frame.index,
            frame.timestamp,
            frame.source,
            width,
            height,
            None if saved_as is None else str(saved_as),
            getattr(frame, "position_ms", None),
            unfit,
            None if kept_as is None else str(kept_as),
        )
        rows = (
            (*_cell_row(found), *_slide_row(found, number, placement))
            for number, found in enumerate(cells)
        )
        counts = None if census is None else census.counts()
        return cls(row, tuple(rows), placement, counts)

    @property
    def rows(self) -> int:
        """How many rows it takes in the file."""
        noted = 0 if self.backend is None else 1
        return 1 + len(self.cells) + len(self.census or ()) + noted

    @property
    def unfit(self) -> str | None:
        """Why the frame is not fit to be judged; None where it is."""
        found = self.frame[FRAME_COLUMNS.index("unfit")]
        return None if found is None else str(found)

    def column(self, name: str) -> tuple[object, ...]:
        """Return one of `CELL_COLUMNS` of every cell."""
        place = CELL_COLUMNS.index(name)
        return tuple(row[place] for row in self.cells)

    def answers(self) -> list[tuple[str, str, bool]]:
        """Return label, verdict and whether the frame's edge cuts it, of every cell."""
        columns = zip(*map(self.column, ("label", "verdict", "cut")), strict=True)
        return [(str(label), str(verdict), bool(cut)) for label, verdict, cut in columns]

    def views(self) -> list[tuple[int | None, BestView]]:
        """Return the number of every cell on the slide, and how well it is seen here."""
        qualities = () if self.placement is None else self.placement.qualities
        numbers = self.column("unique_cell")
        if not qualities:
            qualities = (0.0,) * len(numbers)
        found = zip(numbers, qualities, self.answers(), strict=True)
        return [
            (number if isinstance(number, int) else None, BestView(quality, *answer))
            for number, quality, answer in found
        ]

    def abstained(self) -> list[str]:
        """Return why cells are not fit to be judged, without figures; one entry per such cell."""
        both = zip(self.column("verdict"), self.column("reason"), strict=True)
        return [kind_of(str(reason)) for verdict, reason in both if verdict == "abstained"]


def _cell_row(found: ClassifiedCell) -> tuple[object, ...]:
    cell, answer = found.cell, found.classification
    return (
        cell.x,
        cell.y,
        cell.width,
        cell.height,
        cell.area,
        answer.label,
        answer.probability,
        json.dumps(answer.probabilities),
        answer.verdict,
        int(getattr(cell, "cut", False)),
        answer.reason,
    )


def _slide_row(
    found: ClassifiedCell, number: int, placement: Placement | None
) -> tuple[object, ...]:
    if placement is None or placement.island is None:
        return None, None, None, None
    x, y = found.cell.centre
    place = round(placement.x + x, 1), round(placement.y + y, 1)
    return placement.island, *place, placement.numbers[number]
