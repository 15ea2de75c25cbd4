"""What simulated stages have in common: views that follow from a number, at a pace."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.folder import PictureCamera

_LOOK_SECONDS = 1.0
_BAND = 64  # rows; a frame's light as float32 is four times the frame


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

        The next view is made in a thread of its own meanwhile, as a real camera would.

        Raises:
            DataError: an image is damaged.
        """
        due = time.monotonic()
        with ThreadPoolExecutor(1, thread_name_prefix="stage") as maker:
            coming = maker.submit(self.view, 0)
            for index in itertools.count():
                image, source = coming.result()
                coming = maker.submit(self.view, index + 1)
                if self._fps > 0:
                    self._wait_until(due)
                    due = max(due, time.monotonic()) + 1.0 / self._fps
                yield Frame(image, index, time.time(), source)

    def _wait_until(self, due: float) -> None:
        """Wait until then, in seconds by the monotonic clock, and say now and then that it does."""
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            self.report.waits()

    @abstractmethod
    def view(self, index: int) -> tuple[NDArray[np.uint8], str]:
        """Return frame ``index`` as (H, W, 3) uint8 RGB, and the field it mostly shows."""

    def _wave(self, index: int, period: float, salt: int) -> float:
        """A slow swing between -1 and 1 whose phase follows from the seed."""
        phase = float(np.random.default_rng((self._seed, salt)).random())
        return float(np.sin(2 * np.pi * (index / period + phase)))


def developed(
    image: NDArray[np.uint8],
    gain: NDArray[np.float32],
    noise: NDArray[np.float32],
    shade: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Return what a sensor makes of an image: its light times gain and shade, with noise.

    Args:
        image: (H, W, 3) uint8 RGB.
        gain: (3,) of each channel.
        noise: (H, W) in grey levels; one plane for all channels costs a third and looks the same.
        shade: (H, W) share of light that arrives; None: all of it.

    Returns:
        (H, W, 3) uint8 RGB, rounded half to even.
    """
    table = np.arange(256, dtype=np.float32)[None, :, None] * gain
    result = np.empty_like(image)
    for top in range(0, len(image), _BAND):
        rows = slice(top, top + _BAND)
        light = cv2.LUT(image[rows], table)
        if shade is not None:
            light = cv2.multiply(light, cv2.merge([shade[rows]] * 3))
        cv2.add(light, cv2.merge([noise[rows]] * 3), result[rows], dtype=cv2.CV_8U)
    return result
