"""`qlvit-edge` that notes how long every stage of a run takes: ``stage_times.py FILE ARGUMENTS…``.

Writes, when the command has ended, name of the stage → [[wall, processor] seconds of each time] as
JSON. Processor time is that of the thread alone: the model's process is not in it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qlvit_edge.cli import main
from qlvit_edge.microscope.pipeline import Times

noted: dict[str, list[tuple[float, float]]] = {}
_measure = Times.measure


@contextmanager
def _noting(times: Times, name: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.thread_time()
    try:
        with _measure(times, name):
            yield
    finally:
        took = time.perf_counter() - wall, time.thread_time() - processor
        noted.setdefault(name, []).append(took)


if __name__ == "__main__":
    Times.measure = _noting  # type: ignore[method-assign]
    try:
        main(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_text(json.dumps(noted), encoding="ascii")
