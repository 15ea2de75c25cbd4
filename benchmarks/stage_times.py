"""`qlvit-edge` that notes how long every stage of a run takes: ``stage_times.py FILE ARGUMENTS…``.

Writes, when the command has ended, name of the stage → [[wall, processor] seconds of each time] as
JSON. Processor time is that of the thread alone: the model's process is not in it. `view` is what
the simulated camera does for a frame, which a real one does not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qlvit_edge.camera.simulated import SimulatedCamera
from qlvit_edge.cli import main
from qlvit_edge.microscope.pipeline import Times

noted: dict[str, list[tuple[float, float]]] = {}
_measure, _view = Times.measure, SimulatedCamera.view


@contextmanager
def _noting(name: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.thread_time()
    try:
        yield
    finally:
        took = time.perf_counter() - wall, time.thread_time() - processor
        noted.setdefault(name, []).append(took)


@contextmanager
def _noted_measure(times: Times, name: str) -> Iterator[None]:
    with _measure(times, name), _noting(name):
        yield


def _noted_view(camera: SimulatedCamera, index: int) -> tuple[Any, str]:
    with _noting("view"):
        return _view(camera, index)


if __name__ == "__main__":
    Times.measure = _noted_measure  # type: ignore[method-assign]
    SimulatedCamera.view = _noted_view  # type: ignore[method-assign]
    try:
        main(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_text(json.dumps(noted), encoding="ascii")
