"""What computed each frame's answers, in runs with an accelerator."""

from __future__ import annotations

import sqlite3
from collections import Counter

from qlvit_edge.inference.accelerator import Backend

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


def store(connection: sqlite3.Connection, frame_id: int, backend: Backend | None) -> None:
    """Note what computed a frame, in the caller's transaction; None: nothing besides the CPU."""
    if backend is None:
        return
    connection.execute(_TABLE)
    connection.execute(_VIEW)
    connection.execute(
        "INSERT INTO frame_backends (frame_id, backend, reason) VALUES (?, ?, ?)",
        (frame_id, backend.name, backend.reason),
    )


def of_run(connection: sqlite3.Connection, run_id: int) -> Counter[str]:
    """Return how many frames of a run each backend computed; none of a run without accelerator."""
    if not _is_there(connection):
        return Counter()
    return Counter(
        dict(
            connection.execute(
                "SELECT backend, count(*) FROM frame_backends JOIN frames ON frames.id = frame_id "
                "WHERE run_id = ? GROUP BY backend ORDER BY backend",
                (run_id,),
            ).fetchall()
        )
    )


def forget(connection: sqlite3.Connection, run_id: int) -> None:
    """Delete what is noted of a run, in the caller's transaction."""
    if _is_there(connection):
        connection.execute(
            "DELETE FROM frame_backends WHERE frame_id IN (SELECT id FROM frames WHERE run_id = ?)",
            (run_id,),
        )


def _is_there(connection: sqlite3.Connection) -> bool:
    found = "SELECT 1 FROM sqlite_master WHERE name = 'frame_backends'"
    return connection.execute(found).fetchone() is not None
