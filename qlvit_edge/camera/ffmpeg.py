"""Videos and streams that FFmpeg decodes, through OpenCV, with what FFmpeg complains of.

FFmpeg fills the damaged parts of a frame from the frame before and gives it as good; its
only sign is a line on the standard error. Such a frame, and those built on it up to the
next key frame, are told apart here. JPEGs inside a video are not left to FFmpeg at all:
they are decoded as any picture is. (VP8 and VP9 hold no checks: damage inside them is not
noticed by FFmpeg either.)
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import finding_in
from qlvit_edge.preprocess import decode
from qlvit_edge.quiet import native_stderr_silenced
from qlvit_edge.text import plain

_JPEG_CODECS = frozenset({b"MJPG", b"mjpg", b"JPEG", b"jpeg", b"AVRN", b"LJPG"})
# Its frames all call themselves intra frames, but lean on those before them.
_LEANING_CODECS = frozenset({b"FFV1", b"ffv1"})
_LINE = re.compile(rb"^\[[\w ,.+-]+ @ (?:0x)?[0-9a-fA-F]+\] *")
_MOST_TEXT = 80

MOST_REFUSED = 100
"""Packets refused one after the other before a video counts as over."""


@dataclass(frozen=True)
class Taken:
    """What came for one frame.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright; None where the frame is damaged.
        finding: what is wrong with a damaged frame.
        position_ms: where it lies in its video, in milliseconds.
    """

    image: NDArray[np.uint8] | None
    finding: str
    position_ms: float


class Capture:
    """A video or stream that is open."""

    def __init__(self, address: str, settings: tuple[int, ...] = ()) -> None:
        """Open; `opened` tells whether that went well.

        Args:
            address: a file or URL.
            settings: OpenCV's capture properties, as pairs of number and value.
        """
        # FFmpeg reads these when the first capture is made. Without the second OpenCV writes
        # FFmpeg's lines to the standard output.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "16")
        os.environ.setdefault("OPENCV_FFMPEG_SKIP_LOG_CALLBACK", "1")
        # With one thread a complaint comes with the frame that it is about.
        settings = (*settings, cv2.CAP_PROP_N_THREADS, 1)
        with native_stderr_silenced():
            self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, settings)
            self._jpegs = self._codec() in _JPEG_CODECS
            if self._jpegs:
                self._capture.release()
                raw = (*settings, cv2.CAP_PROP_FORMAT, -1)
                self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, raw)
        self._leaning = self._codec() in _LEANING_CODECS
        self._turns = round(self._capture.get(cv2.CAP_PROP_ORIENTATION_META) / 90) % 4
        self._spoilt = ""
        self._refused = 0
        self.opened = bool(self._capture.isOpened())
        self.promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)

    def read(self) -> Taken | None:
        """Wait for the next frame; None when there will be no more."""
        return self._read_jpeg() if self._jpegs else self._read_decoded()

    def close(self) -> None:
        """Release the video."""
        self._capture.release()

    def _codec(self) -> bytes:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) if self._capture.isOpened() else 0
        return (code & 0xFFFFFFFF).to_bytes(4, "little")

    def _read_jpeg(self) -> Taken | None:
        with native_stderr_silenced() as printed:
            good, content = self._capture.read()
            printed.seek(0)
            sorted_out(printed.read())  # what matters is whether the JPEG is whole
        if not good or content is None:
            return None
        position = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        try:
            image = decode(content.tobytes(), name="frame")
        except DataError as error:
            return Taken(None, finding_in(error, "frame"), position)
        return Taken(np.ascontiguousarray(np.rot90(image, -self._turns)), "", position)

    def _read_decoded(self) -> Taken | None:
        with native_stderr_silenced() as printed:
            good = self._capture.grab()
            printed.seek(0)
            complaint = sorted_out(printed.read())
        position = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        if not good:
            # The end is silent; a packet that is refused is complained of, and others follow.
            self._refused = self._refused + 1 if complaint else MOST_REFUSED
            if self._refused >= MOST_REFUSED:
                return None
            self._spoilt = complaint
            return Taken(None, complaint, position)
        self._refused = 0
        if complaint:
            self._spoilt = complaint
        elif self._stands_alone():
            self._spoilt = ""
        if self._spoilt:
            return Taken(None, self._spoilt, position)
        good, image = self._capture.retrieve()
        if not good or image is None:
            return Taken(None, "it does not decode", position)
        return Taken(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), "", position)

    def _stands_alone(self) -> bool:
        """Whether the frame just grabbed needs no frame before it."""
        key = not self._leaning or self._capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) == 1
        return key and self._capture.get(cv2.CAP_PROP_FRAME_TYPE) == ord("I")


def sorted_out(printed: bytes) -> str:
    """Return what FFmpeg complains of in what was printed, in short; pass the rest on."""
    lines = printed.splitlines(keepends=True)
    ours = [line for line in lines if _LINE.match(line)]
    others = [line for line in lines if line not in ours and line.strip()]
    if others:
        os.write(2, b"".join(others))
    if not ours:
        return ""
    text = _LINE.sub(b"", ours[0]).decode("ascii", "replace").strip()
    # Numbers and places differ from frame to frame; the kind of damage is what counts.
    kind = re.sub(r"-?\b(?:0x)?[0-9A-Fa-f]*\d[0-9A-Fa-f]*\b", "N", text)
    return f"FFmpeg says: {plain(kind)[:_MOST_TEXT]}"
