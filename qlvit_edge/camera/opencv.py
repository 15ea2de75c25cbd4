"""USB cameras (V4L2), which OpenCV reads."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import STALL_SECONDS, LiveCamera
from qlvit_edge.camera.devices import identity_of
from qlvit_edge.camera.settings import UNKNOWN_SETTINGS, CameraSettings, Wanted
from qlvit_edge.errors import CameraError
from qlvit_edge.quiet import native_stderr_silenced

SETTINGS_SECONDS = 1.0
"""How often the driver is asked for its settings: each is a call to the camera itself."""

FORMATS = ("RGB3", "YUYV", "UYVY", "NV12", "YU12", "MJPG")
"""Pixel formats that OpenCV makes pictures of, in the order in which a camera is asked for them
where it comes in another one. OpenCV itself asks for BGR3 first and then hands on its bytes as one
row (4.11; found with the kernel's vivid), as it does with BGR4, YVYU and 422P."""

_MANUAL_EXPOSURE = 1
_EXPOSURE_UNIT_US = 100.0
"""V4L2 counts exposure in units of 100 µs."""


class UsbCamera(LiveCamera):
    """A USB camera: `/dev/videoN`, or a link to it such as those in `/dev/v4l/by-id`."""

    def __init__(
        self,
        device: Path,
        *,
        wanted: Wanted | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """Choose the camera and the size of its frames."""
        number = re.fullmatch(r"/dev/video([0-9]+)", str(device))
        super().__init__(f"usb:{number[1] if number else device}", stall_seconds=stall_seconds)
        self._device = device
        self._wanted = wanted or Wanted()
        self._known = UNKNOWN_SETTINGS
        self._ask_again = 0.0
        self._formats = list(FORMATS)

    def _start(self) -> None:
        device = self._device
        if not device.exists():
            raise CameraError(
                self.name,
                f"{device} does not exist",
                "plug the camera in; `qlvit-edge camera list`",
            )
        if not os.access(device, os.R_OK | os.W_OK):
            raise CameraError(
                self.name, f"{device} may not be read", "add yourself to the group `video`"
            )
        with native_stderr_silenced():
            self._capture = cv2.VideoCapture(str(device.resolve()), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(
                self.name, f"{device} is no camera or is in use", "close other programs using it"
            )
        self._identity = identity_of(device)
        self._formats = list(FORMATS)
        # Old frames in the driver's queue would delay every result.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self._wanted.size is not None:
            self._set_size(self._wanted.size)

    def _set_size(self, size: tuple[int, int]) -> None:
        """Ask for a size; drivers take the next one that they have without a word."""
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        sides = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
        given = tuple(round(self._capture.get(side)) for side in sides)
        if given != size:
            self._close()
            raise CameraError(
                self.name,
                f"it gives {given[0]}x{given[1]} pixels, not {size[0]}x{size[1]}",
                f"write size={given[0]}x{given[1]}, or leave it out",
            )

    def _read(self) -> NDArray[np.uint8] | None:
        """Wait for the next frame that is whole.

        Many cameras send JPEGs; OpenCV fills what is lost of one, and only libjpeg's
        complaint tells.

        Raises:
            CameraError: it has no format that OpenCV makes pictures of.
        """
        while self._capture.grab():
            with native_stderr_silenced() as printed:
                good, image = self._capture.retrieve()
                printed.seek(0)
                complaint = b"JPEG" in printed.read()
            if good and image is not None and not complaint:
                if image.ndim == 3:
                    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
                self._take_another_format()
                continue
            self.report.drop("JPEG data is corrupt" if complaint else "it does not decode")
        return None

    def _take_another_format(self) -> None:
        """Ask for the next of `FORMATS` that the camera has, instead of bytes in a row.

        Raises:
            CameraError: there is none left.
        """
        refused = self._format()
        while self._formats:
            wanted = self._formats.pop(0)
            with native_stderr_silenced():
                self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted))
            if self._format() == wanted:
                if self._wanted.size is not None:
                    self._set_size(self._wanted.size)
                return
        raise CameraError(
            self.name,
            f"no picture can be made of its format {refused}",
            f"use a camera that has one of {', '.join(FORMATS)}",
        )

    def _format(self) -> str:
        """Return the four letters of the pixel format that the camera is set to."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        return code.to_bytes(4, "little").decode("ascii", "replace")

    def _settings(self) -> CameraSettings:
        if time.monotonic() >= self._ask_again:
            self._known = self._asked()
            self._ask_again = time.monotonic() + SETTINGS_SECONDS
        return self._known

    def _asked(self) -> CameraSettings:
        """Ask the driver; what it does not know it answers with -1 or 0."""
        exposure = self._value(cv2.CAP_PROP_EXPOSURE)
        by_itself = self._value(cv2.CAP_PROP_AUTO_EXPOSURE)
        balance = self._value(cv2.CAP_PROP_AUTO_WB, least=0)
        tells = by_itself is not None or balance is not None
        return CameraSettings(
            exposure_us=None if exposure is None else exposure * _EXPOSURE_UNIT_US,
            gain=self._value(cv2.CAP_PROP_GAIN),
            colour_temperature=self._value(cv2.CAP_PROP_WB_TEMPERATURE, least=1000),
            automatic=by_itself not in (None, _MANUAL_EXPOSURE) or bool(balance) if tells else None,
        )

    def _value(self, number: int, least: float = 1e-9) -> float | None:
        value = float(self._capture.get(number))
        return value if value >= least else None

    def _recover(self, trouble: str) -> bool:
        return self._reopen(trouble)

    def _close(self) -> None:
        self._capture.release()
