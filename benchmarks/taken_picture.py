"""What a browser showed, as a picture of the documentation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

MOST_WIDTH = 1000


def save(taken: bytes, out: Path) -> None:
    """Write a screenshot, made smaller where it is wider than `MOST_WIDTH`.

    Args:
        taken: a PNG.
        out: the file; its ending says the format.
    """
    picture = cv2.imdecode(np.frombuffer(taken, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height, width = picture.shape[:2]
    if width > MOST_WIDTH:
        size = MOST_WIDTH, round(height * MOST_WIDTH / width)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_JPEG_QUALITY, 72])
