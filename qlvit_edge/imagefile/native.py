"""OpenCV as the decoder of JPEG and PNG, and what its libraries print while it decodes."""

from __future__ import annotations

import os
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.quiet import native_stderr_silenced

_LIBRARY_LINE = re.compile(rb"JPEG|libpng|OpenCV|imgcodecs|progression|^\[ *[A-Z]+:\d+@\d")


def decode_quietly(content: bytes) -> tuple[NDArray[Any] | None, bytes]:
    """Decode with OpenCV; return the pixels (None: it cannot) and what its libraries printed.

    libjpeg and libpng write their complaints to file descriptor 2, where they would spoil
    a progress bar, and libjpeg's are the only sign of data lost inside a JPEG. What other
    threads print meanwhile is passed on.
    """
    encoded = np.frombuffer(content, dtype=np.uint8)
    with native_stderr_silenced() as capture:
        try:
            pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        except (cv2.error, MemoryError):
            pixels = None
        capture.seek(0)
        printed = capture.read()
    lines = printed.splitlines(keepends=True)
    ours = [line for line in lines if _LIBRARY_LINE.search(line)]
    if len(ours) < len(lines):
        # The libraries' own blank lines go with them; what others print is left whole.
        others = [line for line in lines if line not in ours and (line.strip() or not ours)]
        os.write(2, b"".join(others))
    return pixels, b"".join(ours)
