"""Live cameras without hardware, for what happens around a run."""

from __future__ import annotations

import threading

import numpy as np
from tiny_metadata import plain_image

from qlvit_edge.camera.base import LiveCamera, SourceEndedError

SECONDS = 20.0


class Scripted(LiveCamera):
    """A live camera that gives the next frame when it is told to.

    Attributes:
        turns: one permit a frame.
    """

    def __init__(self, count: int) -> None:
        super().__init__("scripted", stall_seconds=SECONDS)
        self.turns = threading.Semaphore(0)
        self.numbers = iter(range(count))

    def _start(self) -> None:
        pass

    def _read(self) -> np.ndarray:
        if next(self.numbers, None) is None:
            raise SourceEndedError
        assert self.turns.acquire(timeout=SECONDS)
        return plain_image("GREEN", size=16)

    def _close(self) -> None:
        pass
