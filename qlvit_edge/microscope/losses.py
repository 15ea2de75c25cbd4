"""Frames of a run that were lost on their way to the results, by where that was."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

OVERTAKEN: Final = "overtaken"
"""A live camera's: the next one came before anybody had time for it."""

HELD_UP: Final = "storage"
"""A live camera's: too many waited for the disk already."""

UNANSWERED: Final = "runtime"
"""The runtime failed on it twice; it is stored, without cells."""

IN_WORDS: Final = {
    OVERTAKEN: "overtaken by newer ones before they were looked at",
    HELD_UP: "left out while too many waited for the disk",
    UNANSWERED: "stored without their cells: the runtime failed on them",
}

NO_ANSWER: Final = "the runtime failed on it"
"""What is stored of a frame that was lost there."""

_TABLE = """
CREATE TABLE IF NOT EXISTS losses (
    run_id INTEGER NOT NULL REFERENCES runs (id),
    place TEXT NOT NULL,
    frames INTEGER NOT NULL,
    PRIMARY KEY (run_id, place)
) WITHOUT ROWID
"""
"""Made in files of any format by the first run that loses a frame."""


def store(connection: sqlite3.Connection, run_id: int, losses: Mapping[str, int]) -> None:
    """Note how many frames a run has lost so far, in the caller's transaction."""
    if losses:
        connection.execute(_TABLE)
        connection.executemany(
            "INSERT INTO losses (run_id, place, frames) VALUES (?, ?, ?) "
            "ON CONFLICT (run_id, place) DO UPDATE SET frames = excluded.frames",
            [(run_id, place, frames) for place, frames in losses.items()],
        )


def forget(connection: sqlite3.Connection, run_id: int) -> None:
    """Delete what is noted of a run, in the caller's transaction."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'losses'").fetchone():
        connection.execute("DELETE FROM losses WHERE run_id = ?", (run_id,))
