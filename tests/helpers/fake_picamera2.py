"""A stand-in for picamera2 where it is touched: requests, streams, controls, memory layout.

As the real one it lends few buffers and waits for one to be given back, pads the lines of its
low-resolution stream, refuses controls that the camera has not, and applies a change of them only
some frames later. The scene is a lamp on an empty field: what the sensor makes of it follows from
exposure and gains.
"""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

Image = NDArray[np.uint8]
RED = (200, 40, 20)
DELAY = 3
"""Frames until a change of the controls is seen."""

BUFFERS = 4
GAMMA = 2.2


class FakeRequest:
    """A picture with its metadata, lent until it is released."""

    def __init__(self, owner: FakePicamera2, image: Image, metadata: dict[str, Any]) -> None:
        self.owner, self.image, self.metadata, self.held = owner, image, metadata, 1

    def make_array(self, name: str) -> Image:
        assert self.held > 0, "a request that was given back"
        if FakePicamera2.array_error is not None:
            raise FakePicamera2.array_error
        stream = self.owner.streams[name]
        width, height = stream["size"]
        shown = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        if stream["format"] == "YUV420":
            stride = -(-width // 64) * 64
            padded = cv2.copyMakeBorder(shown, 0, 0, 0, stride - width, cv2.BORDER_CONSTANT)
            return cv2.cvtColor(padded, cv2.COLOR_RGB2YUV_I420)
        # "RGB888" is B, G, R in memory and the other way round.
        return {"BGR888": shown, "RGB888": shown[..., ::-1]}[stream["format"]]

    def get_metadata(self) -> dict[str, Any]:
        assert self.held > 0, "a request that was given back"
        return dict(self.metadata)

    def release(self) -> None:
        assert self.held > 0, "given back twice"
        self.held -= 1
        self.owner.lent -= 1


class FakePicamera2:
    """Behaves as picamera2 does where we touch it."""

    infos: ClassVar[list[dict[str, Any]]] = [
        {"Model": "imx477", "Num": 0, "Id": "/base/soc/i2c0mux/i2c@1/imx477@1a", "Location": 2}
    ]
    made: ClassVar[list[FakePicamera2]] = []
    start_error: Exception | None = None
    array_error: Exception | None = None
    scene: ClassVar[Image | None] = None
    light: ClassVar[tuple[float, float, float] | None] = None
    """What a lamp shows of red, green and blue in 1 ms at gain 1, 1 for white; None for `RED`."""

    def __init__(self, camera_num: int = 0) -> None:
        self.calls: list[str] = []
        self.lent = 0
        self.taken = 0
        self.wanted: dict[str, Any] = {"ExposureTime": 10_000, "AnalogueGain": 2.0}
        self.wanted |= {"ColourGains": (1.5, 1.5)}
        self.pending: list[tuple[int, dict[str, Any]]] = []
        self.camera_controls: dict[str, tuple[Any, ...]] = {
            "AeEnable": (False, True, True),
            "AwbEnable": (False, True, True),
            "ExposureTime": (60, 674_181_621, 1000),
            "AnalogueGain": (1.0, 22.26, 1.0),
            "ColourGains": (0.0, 32.0, 1.0),
        }
        FakePicamera2.made.append(self)

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return FakePicamera2.infos

    def create_video_configuration(
        self,
        main: dict[str, Any] | None = None,
        lores: dict[str, Any] | None = None,
        controls: dict[str, Any] | None = None,
        buffer_count: int = 6,
    ) -> dict[str, Any]:
        streams = {"main": main, "lores": lores}
        for stream in (main, lores):
            assert stream is None or set(stream) <= {"format", "size", "stride", "preserve_ar"}
        return {"use_case": "video", **streams, "controls": controls or {}}

    def configure(self, configuration: dict[str, Any]) -> None:
        names = ("main", "lores")
        self.streams = {name: configuration[name] for name in names if configuration[name]}
        self._require_known(configuration["controls"])
        self.wanted |= configuration["controls"]
        self.calls.append("configure")

    def set_controls(self, controls: dict[str, Any]) -> None:
        self._require_known(controls)
        self.pending.append((self.taken + DELAY, controls))

    def _require_known(self, controls: dict[str, Any]) -> None:
        for name in controls:
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")

    def start(self) -> None:
        if FakePicamera2.start_error is not None:
            raise FakePicamera2.start_error
        assert self.calls == ["configure"]
        self.calls.append("start")

    def capture_request(self) -> FakeRequest:
        assert self.calls[-1] == "start"
        if self.lent >= BUFFERS:
            raise RuntimeError("no buffer was given back: the real one would wait for ever")
        time.sleep(0.005)
        self.taken += 1
        for due, controls in list(self.pending):
            if self.taken >= due:
                self.wanted |= controls
                self.pending.remove((due, controls))
        self.lent += 1
        metadata = {
            "ExposureTime": self.wanted["ExposureTime"],
            "AnalogueGain": self.wanted["AnalogueGain"],
            "ColourGains": self.wanted["ColourGains"],
            "ColourTemperature": 4600,
            "SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 4_000_000,
        }
        return FakeRequest(self, self._seen(), metadata)

    def _seen(self) -> Image:
        if FakePicamera2.scene is not None:
            return FakePicamera2.scene
        width, height = self.streams["main"]["size"]
        if FakePicamera2.light is None:
            return np.full((height, width, 3), RED, np.uint8)
        red, blue = self.wanted["ColourGains"]
        amount = self.wanted["ExposureTime"] / 1000 * self.wanted["AnalogueGain"]
        linear = np.array(FakePicamera2.light) * amount * (red, 1.0, blue)
        values = np.clip(255 * linear ** (1 / GAMMA), 0, 255)
        return np.full((height, width, 3), np.rint(values), np.uint8)

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


def install(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera2]:
    """Let `import picamera2` find the stand-in for this test."""
    import sys

    module = ModuleType("picamera2")
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(FakePicamera2, "made", [])
    return FakePicamera2
