"""USB cameras (V4L2), which OpenCV reads."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import STALL_SECONDS, LiveCamera
from qlvit_edge.errors import CameraError
from qlvit_edge.quiet import native_stderr_silenced


class UsbCamera(LiveCamera):
    """A USB camera, `/dev/videoN`."""

    def __init__(self, number: int, *, stall_seconds: float = STALL_SECONDS) -> None:
        super().__init__(f"usb:{number}", stall_seconds=stall_seconds)
        self._number = number

    def _start(self) -> None:
        device = Path(f"/dev/video{self._number}")
        if not device.exists():
            raise CameraError(
                self.name, f"{device} does not exist", "plug the camera in; `ls /dev/video*`"
            )
        if not os.access(device, os.R_OK | os.W_OK):
            raise CameraError(
                self.name, f"{device} may not be read", "add yourself to the group `video`"
            )
        with native_stderr_silenced():
            self._capture = cv2.VideoCapture(self._number, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(
                self.name, f"{device} is no camera or is in use", "close other programs using it"
            )
        # Old frames in the driver's queue would delay every result.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def _read(self) -> NDArray[np.uint8] | None:
        """Wait for the next frame that is whole.

        Many cameras send JPEGs; OpenCV fills what is lost of one, and only libjpeg's
        complaint tells.
        """
        while self._capture.grab():
            with native_stderr_silenced() as printed:
                good, image = self._capture.retrieve()
                printed.seek(0)
                complaint = b"JPEG" in printed.read()
            if good and image is not None and not complaint:
                return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            self.report.drop("JPEG data is corrupt" if complaint else "it does not decode")
        return None

    def _close(self) -> None:
        self._capture.release()
