"""Counting the cells of a run once: whether it is done, and what is stored of each place."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from qlvit_edge.camera.base import Camera, Frame, LiveCamera
from qlvit_edge.camera.stage import StageCamera
from qlvit_edge.errors import DataError
from qlvit_edge.fields.target import target_of
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.slide.register import Answer
from qlvit_edge.slide.tracker import Placement, SlideTracker


def tracker_for(camera: Camera, count_once: bool | None, find: str) -> SlideTracker | None:
    """Return what counts the camera's cells once; None where they are counted in each frame.

    By default that is for live cameras, whose frames show one slide over and over. Pictures of a
    folder have nothing to do with each other unless the user says that they do.

    Args:
        camera: the source of the frames.
        count_once: what the user wants; None: the default.
        find: what is looked for, see `qlvit_edge.fields.target`; whole frames and fixed regions
            are nothing that is found again.

    Raises:
        DataError: cells are to be counted once where none are looked for.
    """
    kind = target_of(find).kind
    if kind in ("none", "region"):
        if count_once:
            raise DataError("--count-once", "no cells are looked for", f"leave out --find {find}")
        return None
    wanted = isinstance(camera, LiveCamera | StageCamera) if count_once is None else count_once
    return SlideTracker() if wanted else None


def placed(
    tracker: SlideTracker | None, frame: Frame, found: Sequence[ClassifiedCell]
) -> Placement | None:
    """Place a frame on the slide and note its cells; None without a tracker."""
    if tracker is None:
        return None
    answers = [Answer(c.classification.label, c.classification.verdict) for c in found]
    return tracker.add(frame.image, [c.cell for c in found], answers)


def note_placement(connection: sqlite3.Connection, run_id: int, placement: Placement) -> None:
    """Store a frame's island, islands that it joined, and cells that turned out to be one."""
    if placement.island is not None:
        connection.execute(
            "INSERT OR IGNORE INTO islands (run_id, number) VALUES (?, ?)",
            (run_id, placement.island),
        )
    for gone, stays, x, y in placement.joined:
        connection.execute(
            "INSERT OR IGNORE INTO islands (run_id, number) VALUES (?, ?)", (run_id, gone)
        )
        connection.execute(
            "UPDATE islands SET joined_to = ?, x = x + ?, y = y + ? "
            "WHERE run_id = ? AND (number = ? OR joined_to = ?)",
            (stays, x, y, run_id, gone, gone),
        )
    connection.executemany(
        "UPDATE cells SET unique_cell = ? WHERE unique_cell = ? AND frame_id IN "
        "(SELECT id FROM frames WHERE run_id = ?)",
        [(stays, gone, run_id) for gone, stays in placement.merged],
    )


def note_doubtful(connection: sqlite3.Connection, run_id: int, numbers: Collection[int]) -> None:
    """Store of every unique cell of a run whether it is doubtful."""
    of_run = "frame_id IN (SELECT id FROM frames WHERE run_id = ?)"
    connection.execute(
        f"UPDATE cells SET doubtful = 0 WHERE unique_cell IS NOT NULL AND {of_run}",  # noqa: S608 - names of ours, values bound
        (run_id,),
    )
    connection.executemany(
        f"UPDATE cells SET doubtful = 1 WHERE unique_cell = ? AND {of_run}",  # noqa: S608 - names of ours, values bound
        [(number, run_id) for number in sorted(numbers)],
    )
