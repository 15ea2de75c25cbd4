"""What computed each frame's answers, in runs with an accelerator."""

from __future__ import annotations

import sqlite3

from qlvit_edge.inference.accelerator import CPU, EDGE_TPU, Backend
from qlvit_edge.text import counted

_TABLE = """
CREATE TABLE IF NOT EXISTS frame_backends (
    frame_id INTEGER PRIMARY KEY REFERENCES frames (id),
    backend TEXT NOT NULL,
    reason TEXT
)
"""
_VIEW = """
CREATE VIEW IF NOT EXISTS backend_list AS
SELECT
    frames.run_id AS run,
    frames.number AS frame,
    frames.source AS source,
    (SELECT count(*) FROM cells WHERE cells.frame_id = frames.id) AS cells,
    frame_backends.backend AS backend,
    frame_backends.reason AS reason
FROM frame_backends JOIN frames ON frames.id = frame_backends.frame_id
"""
"""Made in files of any format by the first run that has an accelerator. A frame that has no row
there was computed by what `runs.kernels` says."""


def make(connection: sqlite3.Connection) -> None:
    """Make the table and its view where they are not there, in the caller's transaction."""
    connection.execute(_TABLE)
    connection.execute(_VIEW)


def store(connection: sqlite3.Connection, frame_id: int, backend: Backend | None) -> None:
    """Note what computed a frame, in the caller's transaction; None: nothing besides the CPU."""
    if backend is None:
        return
    make(connection)
    connection.execute(
        "INSERT INTO frame_backends (frame_id, backend, reason) VALUES (?, ?, ?)",
        (frame_id, backend.name, backend.reason),
    )


def in_words(connection: sqlite3.Connection) -> dict[int, str]:
    """Return how many frames each side computed, by run; nothing of runs without an accelerator."""
    if not is_there(connection):
        return {}
    found: dict[int, list[str]] = {}
    for run, name, frames in connection.execute(
        "SELECT run_id, backend, count(*) FROM frame_backends JOIN frames ON frames.id = frame_id "
        "WHERE backend IN (?, ?) GROUP BY 1, 2 ORDER BY 1, 2 DESC",
        (EDGE_TPU, CPU),
    ):
        found.setdefault(int(run), []).append(f"{counted(int(frames), 'frame')} by the {name}")
    return {run: ", ".join(parts) for run, parts in found.items()}


def forget(connection: sqlite3.Connection, run_id: int) -> None:
    """Delete what is noted of a run, in the caller's transaction."""
    if is_there(connection):
        connection.execute(
            "DELETE FROM frame_backends WHERE frame_id IN (SELECT id FROM frames WHERE run_id = ?)",
            (run_id,),
        )


def is_there(connection: sqlite3.Connection) -> bool:
    """Tell whether a run of the file had an accelerator."""
    found = "SELECT 1 FROM sqlite_master WHERE name = 'frame_backends'"
    return connection.execute(found).fetchone() is not None
