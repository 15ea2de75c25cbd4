"""Counting the cells of a run once: whether it is done, and what is stored of each place."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from qlvit_edge.camera.base import Camera, Frame, LiveCamera
from qlvit_edge.camera.stage import StageCamera
from qlvit_edge.errors import DataError
from qlvit_edge.fields.target import target_of
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.slide.placement import Placement
from qlvit_edge.slide.quality import Answer
from qlvit_edge.slide.tracker import SlideTracker


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


_NOTE = """INSERT INTO unique_cells (run_id, number, best, quality) VALUES (?, ?, ?, ?)
ON CONFLICT (run_id, number) DO UPDATE SET best = excluded.best, quality = excluded.quality
WHERE excluded.quality > quality"""
"""One view of a unique cell; only a better one takes the place of what is stored."""


def note_placement(
    connection: sqlite3.Connection, run_id: int, placement: Placement, cells: Sequence[int]
) -> None:
    """Store a frame's island, its unique cells, and islands and cells that turned out to be one.

    Args:
        connection: to the results file.
        run_id: number of the run.
        placement: of the frame.
        cells: numbers of its cells in the file, in their order.
    """
    if placement.island is not None:
        connection.execute(
            "INSERT OR IGNORE INTO islands (run_id, number) VALUES (?, ?)",
            (run_id, placement.island),
        )
        views = zip(placement.numbers, cells, placement.qualities, strict=True)
        connection.executemany(_NOTE, [(run_id, *view) for view in views])
    for gone, stays, x, y in placement.joined:
        connection.execute(
            "INSERT OR IGNORE INTO islands (run_id, number) VALUES (?, ?)", (run_id, gone)
        )
        connection.execute(
            "UPDATE islands SET joined_to = ?, x = x + ?, y = y + ? "
            "WHERE run_id = ? AND (number = ? OR joined_to = ?)",
            (stays, x, y, run_id, gone, gone),
        )
    for gone, stays in placement.merged:
        _merge(connection, run_id, gone, stays)


def _merge(connection: sqlite3.Connection, run_id: int, gone: int, stays: int) -> None:
    connection.execute(
        "UPDATE cells SET unique_cell = ? WHERE unique_cell = ? AND frame_id IN "
        "(SELECT id FROM frames WHERE run_id = ?)",
        (stays, gone, run_id),
    )
    found = connection.execute(
        "DELETE FROM unique_cells WHERE run_id = ? AND number = ? RETURNING best, quality",
        (run_id, gone),
    ).fetchall()
    connection.executemany(_NOTE, [(run_id, stays, *view) for view in found])


def note_doubtful(connection: sqlite3.Connection, run_id: int, numbers: Collection[int]) -> None:
    """Store which unique cells of a run are doubtful; all others are not."""
    known = connection.execute(
        "SELECT number, doubtful FROM unique_cells WHERE run_id = ?", (run_id,)
    ).fetchall()
    connection.executemany(
        "UPDATE unique_cells SET doubtful = ? WHERE run_id = ? AND number = ?",
        [
            (int(number in numbers), run_id, number)
            for number, doubtful in known
            if bool(doubtful) != (number in numbers)
        ],
    )
