"""Cameras in the network: MJPEG over HTTP, read here; RTSP and the like, read by FFmpeg.

What is decoded here is decoded as strictly as a picture of a folder, so that no torn
frame passes. A connection that is lost is opened again, at growing intervals, until a
frame comes or `STALL_SECONDS` are over.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPResponse

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.address import read_address
from qlvit_edge.camera.base import STALL_SECONDS, LiveCamera, SourceEndedError
from qlvit_edge.camera.ffmpeg import Capture
from qlvit_edge.camera.http_request import OPEN_SECONDS, open_url
from qlvit_edge.camera.multipart import boundary_of, jpegs, one_picture, parts
from qlvit_edge.credentials import masked
from qlvit_edge.errors import CameraError, DataError
from qlvit_edge.imagefolder import finding_in
from qlvit_edge.preprocess import decode

_RAW_MJPEG = frozenset({"video/x-motion-jpeg", "video/x-mjpeg", "video/mjpeg", "video/x-jpeg"})
_RAW_JPEG = frozenset({"image/jpeg", "image/jpg", "image/pjpeg"})


class StreamCamera(LiveCamera):
    """A camera that a URL names."""

    remedy = "check the camera, its server and the network, and start again; results are kept"

    def __init__(self, url: str, *, stall_seconds: float = STALL_SECONDS) -> None:
        """Note the address.

        Raises:
            CameraError: it is no address.
        """
        super().__init__(masked(url), stall_seconds=stall_seconds)
        self._url = url
        self._address = read_address(url)
        self._response: HTTPResponse | None = None
        self._pictures: Iterator[bytes] = iter(())
        self._capture: Capture | None = None
        self._finite = False

    def _start(self) -> None:
        if not self._url.lower().startswith("http"):
            self._start_ffmpeg()
            return
        self._response = open_url(self._address, min(OPEN_SECONDS, self._stall_seconds))
        kind = self._response.headers.get_content_type()
        named = self._response.headers.get("Content-Type", "")
        self._finite = self._response.headers.get("Content-Length") is not None
        if kind.startswith("multipart/"):
            self._pictures = parts(self._response.read1, boundary_of(named))
        elif kind in _RAW_MJPEG:
            self._pictures = jpegs(self._response.read1)
        elif kind in _RAW_JPEG:
            self._pictures, self._finite = jpegs(self._response.read1), True
        elif kind.startswith("image/"):
            self._pictures, self._finite = one_picture(self._response.read1), True
        elif kind in ("text/html", "text/plain", "application/json", "application/xml") and named:
            self._close()
            raise CameraError(
                self.name,
                f"a page ({kind}) answers there, not a video stream",
                "give the address of the stream itself, often …/stream or …/video.mjpg",
            )
        else:
            self._close()
            self._start_ffmpeg()

    def _start_ffmpeg(self) -> None:
        # While FFmpeg waits, the standard error is looked at: it must be given back first.
        self._leave_seconds = OPEN_SECONDS + 2
        limits = (
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_SECONDS * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(min(OPEN_SECONDS, self._stall_seconds) * 1000)),
        )
        capture = Capture(self._url, limits)
        if not capture.opened:
            capture.close()
            raise CameraError(
                self.name,
                "no video stream answers there",
                "check the address, user and password, and that the camera's server runs",
            )
        self._capture = capture

    def _read(self) -> NDArray[np.uint8] | None:
        while not self._stop.is_set():
            if self._capture is not None:
                taken = self._capture.read()
                if taken is None:
                    if self._finite:  # a video file on a server, which is over
                        raise SourceEndedError
                    return None
                image, finding = taken.image, taken.finding
            else:
                image, finding = self._next_picture()
            if image is not None:
                return image
            self.report.drop(finding)
            self._disturbance = f"{self.report.dropped} damaged ones were left out: {finding}"
        return None

    def _next_picture(self) -> tuple[NDArray[np.uint8] | None, str]:
        """Return the next part's picture, or what is wrong with it."""
        try:
            content = next(self._pictures, None)
        except OSError:
            if self._finite and (self.report.size or self.report.dropped):
                raise SourceEndedError from None
            raise
        if content is None:
            raise SourceEndedError
        try:
            return decode(content, name="frame"), ""
        except DataError as error:
            return None, finding_in(error, "frame")

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._capture is not None:
            self._capture.close()
            self._capture = None

    def _recover(self, trouble: str) -> bool:
        return self._reopen(trouble)
