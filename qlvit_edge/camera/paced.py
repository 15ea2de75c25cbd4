"""What simulated stages have in common: views that follow from a number, at a pace."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.folder import PictureCamera


class PacedCamera(PictureCamera, ABC):
    """Base of cameras whose frames follow from a seed, one by one; only the pace is the clock's."""

    def __init__(self, name: str, folder: Path, *, seed: int, fps: float) -> None:
        """Look the folder through.

        Args:
            name: the source, for messages and results.
            folder: images of fields of view.
            seed: what every movement, drift and noise follows from.
            fps: frames per second, at most; 0 gives them as fast as they are taken.

        Raises:
            CameraError: see `qlvit_edge.camera.folder.pictures`.
        """
        super().__init__(name, folder)
        self._seed, self._fps = seed, fps

    def frames(self) -> Iterator[Frame]:
        """Give frames, paced, without end; who takes them late slows the stage.

        Raises:
            DataError: an image is damaged.
        """
        due = time.monotonic()
        index = 0
        while True:
            image, source = self.view(index)
            if self._fps > 0:
                time.sleep(max(0.0, due - time.monotonic()))
                due = max(due, time.monotonic()) + 1.0 / self._fps
            yield Frame(image, index, time.time(), source)
            index += 1

    @abstractmethod
    def view(self, index: int) -> tuple[NDArray[np.uint8], str]:
        """Return frame ``index`` as (H, W, 3) uint8 RGB, and the field it mostly shows."""

    def _wave(self, index: int, period: float, salt: int) -> float:
        """A slow swing between -1 and 1 whose phase follows from the seed."""
        phase = float(np.random.default_rng((self._seed, salt)).random())
        return float(np.sin(2 * np.pi * (index / period + phase)))
