"""A stand-in for OpenCV's V4L2 capture: a camera that gives one colour and has a few sizes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray


class FakeCapture:
    """Behaves as `cv2.VideoCapture` does on a USB camera where we touch it."""

    made: ClassVar[list[FakeCapture]] = []
    size: ClassVar[tuple[int, int]] = (64, 48)
    sizes: ClassVar[tuple[tuple[int, int], ...]] = ((64, 48), (128, 96))
    colour: ClassVar[tuple[int, int, int]] = (200, 40, 20)
    properties: ClassVar[dict[int, float]] = {
        cv2.CAP_PROP_EXPOSURE: 157.0,
        cv2.CAP_PROP_GAIN: 64.0,
        cv2.CAP_PROP_AUTO_EXPOSURE: 3.0,
        cv2.CAP_PROP_AUTO_WB: 1.0,
        cv2.CAP_PROP_WB_TEMPERATURE: 4600.0,
    }
    formats: ClassVar[tuple[str, ...]] = ("YUYV",)
    """The camera's pixel formats; the first is the one that OpenCV takes by itself."""
    undecoded: ClassVar[tuple[str, ...]] = ()
    """Those whose bytes OpenCV hands on in one row."""
    unplugged = False

    def __init__(self, device: str, backend: int) -> None:
        assert backend == cv2.CAP_V4L2
        self.device, self.released = device, False
        self.asked: dict[int, float] = {}
        self.now = self.size
        self.format = self.formats[0]
        FakeCapture.made.append(self)

    def isOpened(self) -> bool:
        return not self.released and Path(self.device).exists()

    def set(self, number: int, value: float) -> bool:
        self.asked[number] = value
        if number == cv2.CAP_PROP_FOURCC:
            wished = int(value).to_bytes(4, "little").decode()
            self.format = wished if wished in self.formats else self.format
        wanted = (
            int(self.asked.get(cv2.CAP_PROP_FRAME_WIDTH, self.now[0])),
            int(self.asked.get(cv2.CAP_PROP_FRAME_HEIGHT, self.now[1])),
        )
        if wanted in self.sizes:
            self.now = wanted
        return True

    def get(self, number: int) -> float:
        if number == cv2.CAP_PROP_FOURCC:
            return float(cv2.VideoWriter.fourcc(*self.format))
        sides = {cv2.CAP_PROP_FRAME_WIDTH: self.now[0], cv2.CAP_PROP_FRAME_HEIGHT: self.now[1]}
        return float(sides.get(number, self.properties.get(number, -1.0)))

    def grab(self) -> bool:
        time.sleep(0.005)
        return not self.unplugged

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        assert not self.released
        if self.format in self.undecoded:
            return True, np.zeros((1, self.now[0] * self.now[1] * 3), np.uint8)
        return True, np.full((self.now[1], self.now[0], 3), self.colour[::-1], np.uint8)

    def release(self) -> None:
        self.released = True


def install(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    """Let V4L2 captures be the stand-in for this test; other captures stay OpenCV's."""
    real = cv2.VideoCapture

    def made(source: str, backend: int = 0, *rest: object) -> object:
        if backend == cv2.CAP_V4L2:
            return FakeCapture(source, backend)
        return real(source, backend, *rest)

    monkeypatch.setattr(cv2, "VideoCapture", made)
    monkeypatch.setattr(FakeCapture, "made", [])
    return FakeCapture
