"""A run, a frame and a cell to store, and a look into a results file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from qlvit_edge.camera.base import Frame
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.records import RunInfo

INFO = RunInfo("tiny", "ab" * 32, "litert", "reference", "folder", 0.3, 0.4, 0.8, "tests")

FOUND = ClassifiedCell(
    Cell(1, 2, 30, 40, 500.0),
    Classification("RED", 0.75, {"RED": 0.75, "BLUE": 0.25}, "uncertain"),
)


def frame(index: int = 0) -> Frame:
    """An empty frame, taken 1000 s and its number after the beginning of time."""
    return Frame(np.zeros((480, 640, 3), np.uint8), index, 1000.0 + index, f"{index}.png")


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query gives."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
