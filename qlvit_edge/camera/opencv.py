"""Cameras that OpenCV reads: USB (V4L2), video files, MJPEG streams over HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import STALL_SECONDS, Frame, LiveCamera
from qlvit_edge.errors import CameraError, CameraStalledError
from qlvit_edge.quiet import native_stderr_silenced

OPEN_SECONDS = 10.0
"""A stream that does not answer within this time is not there."""


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
        self._capture = _open(self._number, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(
                self.name, f"{device} is no camera or is in use", "close other programs using it"
            )
        # Old frames in the driver's queue would delay every result.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def _read(self) -> NDArray[np.uint8] | None:
        return _grab(self._capture)

    def _close(self) -> None:
        self._capture.release()


class StreamCamera(LiveCamera):
    """An MJPEG stream, such as a microscope's web server gives."""

    def __init__(self, url: str, *, stall_seconds: float = STALL_SECONDS) -> None:
        super().__init__(url, stall_seconds=stall_seconds)

    def _start(self) -> None:
        self._capture = _open(
            self.name,
            cv2.CAP_FFMPEG,
            (
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                round(OPEN_SECONDS * 1000),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                round(self._stall_seconds * 1000),
            ),
        )
        if not self._capture.isOpened():
            raise CameraError(
                self.name,
                "no video stream answers there",
                "check the address and that the camera's server runs",
            )

    def _read(self) -> NDArray[np.uint8] | None:
        return _grab(self._capture)

    def _close(self) -> None:
        self._capture.release()


# A file's count of frames may be worked out from its length, and be off by a little.
_COUNT_SLACK = 0.01
# Files without a count give numbers beyond all reason.
_MOST_FRAMES = 1e8


class VideoFileCamera:
    """A video file: every frame once."""

    def __init__(self, path: Path) -> None:
        """Note the file's name.

        Raises:
            CameraError: there is no such file.
        """
        if not path.is_file():
            raise CameraError(path, "no such file", "check the name")
        self.name = str(path)

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            CameraError: the file is no video that can be read.
        """
        self._capture = _open(self.name, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise CameraError(
                self.name, "not a video that can be read", "give an MP4, AVI or MKV file"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._capture.release()

    def frames(self) -> Iterator[Frame]:
        """Give every frame once.

        Raises:
            CameraError: the file holds no frame that can be decoded.
            CameraStalledError: it ends before the frames that it promises: it was cut, or
                is damaged inside.
        """
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        index = 0
        while (image := _grab(self._capture)) is not None:
            yield Frame(image, index, time.time())
            index += 1
        if index == 0:
            raise CameraError(self.name, "no frame can be decoded", "check or re-encode the file")
        if index + 1 + _COUNT_SLACK * promised < promised < _MOST_FRAMES:
            raise CameraStalledError(
                self.name,
                f"the video ends after {index} of {promised:.0f} frames",
                "copy it again or re-encode it; results are kept",
            )


def _open(source: int | str, backend: int, settings: tuple[int, ...] = ()) -> cv2.VideoCapture:
    # FFmpeg reads this when the first capture is made; it also writes from its own threads.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with native_stderr_silenced():
        if isinstance(source, int):
            return cv2.VideoCapture(source, backend, settings)
        return cv2.VideoCapture(source, backend, settings)


def _grab(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    good, image = capture.read()
    if not good or image is None:
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
