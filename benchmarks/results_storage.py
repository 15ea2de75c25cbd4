"""How much a run writes to its disk per frame, and how large the log gets.

Run as ``python benchmarks/results_storage.py [--frames N] [--rate N] [--cells N] [--folder F]``:
stores frames in a results file below FOLDER (a temporary one if not given) in three ways and
prints the figures as JSON. "alone" is one transaction per frame, as `run` does with few frames
per second on a quick disk, "grouped" what it comes to on a slow one: what comes within a second is
stored together. "grouped, with a reader" has another connection
look at the file's first state all the time. ``bytes_written`` is what the process hands to the
system's write calls, log and database together; ``bytes_to_disk`` is what the system counts as
written to the disk (0 where it does not tell).
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from qlvit_edge.camera.base import Frame
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.records import FrameRecord, RunInfo
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.writer import LONGEST_GROUP_SECONDS

LABELS = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
SECONDS_OF_A_DAY = 24 * 3600


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--rate", type=int, default=10, help="frames per second")
    parser.add_argument("--cells", type=int, default=2, help="cells per frame")
    parser.add_argument("--folder", type=Path, help="where to write, on the disk in question")
    arguments = parser.parse_args()
    group = max(1, round(arguments.rate * LONGEST_GROUP_SECONDS))
    figures: dict[str, object] = {
        "frames": arguments.frames,
        "frames_per_second": arguments.rate,
        "cells_per_frame": arguments.cells,
        "sqlite": sqlite3.sqlite_version,
    }
    records = [record(index, arguments.cells) for index in range(arguments.frames)]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        figures["alone"] = stored(folder / "alone.sqlite", records, 1, arguments.rate)
        figures["grouped"] = stored(folder / "grouped.sqlite", records, group, arguments.rate)
        figures["grouped, with a reader"] = stored(
            folder / "read.sqlite", records, group, arguments.rate, reader=True
        )
    print(json.dumps(figures, indent=2))


def record(index: int, cells: int) -> FrameRecord:
    """A frame's rows as a microscope gives them."""
    rng = np.random.default_rng(index)
    found = []
    for _ in range(cells):
        chances = rng.dirichlet([0.3] * len(LABELS))
        best = int(chances.argmax())
        answer = Classification(
            label=LABELS[best],
            probability=float(chances[best]),
            probabilities=dict(zip(LABELS, map(float, chances), strict=True)),
            verdict="accepted" if chances[best] >= 0.8 else "uncertain",
        )
        x, y = (int(place) for place in rng.integers(0, 400, 2))
        found.append(ClassifiedCell(Cell(x, y, 90, 96, float(rng.integers(2000, 6000))), answer))
    image = np.zeros((960, 1280, 3), np.uint8)
    return FrameRecord.of(Frame(image, index, 1.7e9 + index / 10), found)


def stored(
    path: Path, records: list[FrameRecord], group: int, rate: int, *, reader: bool = False
) -> dict[str, float]:
    """Store the records in transactions of ``group`` frames; returns the figures."""
    info = RunInfo(
        "blood-nano", "ab" * 32, "litert", "XNNPACK", "picamera2", 0.3, 0.4, 0.8, "benchmark"
    )
    largest = 0
    with Results(path, info) as results, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        if reader:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM frames").fetchone()
        before = written()
        for start in range(0, len(records), group):
            results.add_frames(records[start : start + group])
            largest = max(largest, results.log_bytes())
        after = written()
    frames = len(records)
    per_frame = (after["wchar"] - before["wchar"]) / frames
    return {
        "bytes_written_per_frame": round(per_frame),
        "bytes_to_disk_per_frame": round((after["write_bytes"] - before["write_bytes"]) / frames),
        "bytes_stored_per_frame": round(path.stat().st_size / frames),
        "gigabytes_written_per_day": round(per_frame * rate * SECONDS_OF_A_DAY / 1e9, 2),
        "largest_log_megabytes": round(largest / 1e6, 1),
    }


def written() -> dict[str, int]:
    """What this process has written so far, by the system's count."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


if __name__ == "__main__":
    main()
