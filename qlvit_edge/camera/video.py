"""A video file as a camera: every whole frame once, with its place in the video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.ffmpeg import Capture
from qlvit_edge.camera.report import CameraReport
from qlvit_edge.errors import CameraError, CameraStalledError

# A file's count of frames may be worked out from its length, and be off by a little.
_COUNT_SLACK = 0.01
# Files without a count give numbers beyond all reason.
_MOST_FRAMES = 1e8


class VideoFileCamera:
    """A video file: every frame once.

    Attributes:
        name: the file, for messages and results.
        identity: "": a video does not say which camera took it.
        report: what was left out.
    """

    identity = ""

    def __init__(self, path: Path) -> None:
        """Note the file's name.

        Raises:
            CameraError: there is no such file, or it is empty.
        """
        if not path.is_file():
            raise CameraError(path, "no such file", "check the name")
        self.name = str(path)
        self.report = CameraReport()
        if not path.stat().st_size:
            raise CameraError(self.name, "the file is empty", "copy it again")

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            CameraError: the file is no video that can be read.
        """
        self._capture = Capture(self.name)
        if not self._capture.opened:
            raise CameraError(
                self.name,
                "not a video or image that can be read",
                "give an MP4, AVI or MKV file, or a JPEG, PNG, BMP or TIFF image",
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._capture.close()

    def frames(self) -> Iterator[Frame]:
        """Give every frame once that is whole; a frame's index is its number in the video.

        Raises:
            CameraError: the file holds no frame that can be decoded.
            CameraStalledError: it ends before the frames that it promises: it was cut, or
                is damaged inside.
        """
        promised = self._capture.promised
        index = given = 0
        while (taken := self._capture.read()) is not None:
            if taken.image is None:
                self.report.drop(taken.finding)
            else:
                height, width = taken.image.shape[:2]
                self.report.saw(width, height)
                yield Frame(taken.image, index, time.time(), position_ms=taken.position_ms)
                given += 1
            index += 1
        if given == 0:
            raise CameraError(self.name, "no frame can be decoded", "check or re-encode the file")
        if index + 1 + _COUNT_SLACK * promised < promised < _MOST_FRAMES:
            raise CameraStalledError(
                self.name,
                f"the video ends after {index} of {promised:.0f} frames",
                "copy it again or re-encode it; results are kept",
            )
