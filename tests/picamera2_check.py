"""The Raspberry Pi's camera through the real picamera2; run by `make test-picamera2`.

Takes frames of the first camera that libcamera knows, with and without the low-resolution stream,
and checks what `tests/test_camera_contract.py` checks of a stand-in.
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np

from qlvit_edge.camera.picamera2 import PiCamera
from qlvit_edge.camera.settings import Wanted
from qlvit_edge.errors import QLViTEdgeError

SIZE, SMALL = (640, 480), (320, 240)


def check(wanted: Wanted) -> None:
    """Take frames and check them; raises AssertionError."""
    with PiCamera(wanted=wanted) as camera:
        frames = list(itertools.islice(camera.frames(), 20))
    assert camera.identity
    for frame in frames:
        assert frame.image.shape == (SIZE[1], SIZE[0], 3)
        assert frame.image.flags.c_contiguous
        assert 0 <= time.monotonic() - frame.monotonic < 60
        if wanted.small is not None:
            assert frame.small is not None
            assert frame.small.shape == (SMALL[1], SMALL[0], 3)
            # The same view: its mean colour is the large one's.
            means = [image.reshape(-1, 3).mean(0) for image in (frame.image, frame.small)]
            assert np.abs(means[0] - means[1]).max() < 12
    for one, other in itertools.pairwise(frames):
        assert other.index > one.index
        assert other.monotonic >= one.monotonic
    print(f"{camera.identity}: {len(frames)} frames; {frames[-1].settings.words()}")


def main() -> int:
    """Check; returns an exit code."""
    try:
        check(Wanted(SIZE))
        check(Wanted(SIZE, SMALL))
    except (AssertionError, QLViTEdgeError) as error:
        print(f"test-picamera2: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
