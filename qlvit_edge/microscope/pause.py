"""A run that is told to wait: a camera's picture goes on, nothing is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from qlvit_edge.camera.base import Frame

_LOOK_SECONDS = 0.2


class Pause:
    """Whether a run is to wait; any thread may say so.

    Attributes:
        wanted: whether it is.
        left_out: frames of a camera that were left out so far.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._going = threading.Event()
        self._going.set()

    @property
    def wanted(self) -> bool:
        """Whether the run is to wait."""
        return not self._going.is_set()

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        if wanted:
            self._going.clear()
        else:
            self._going.set()

    def frames(
        self,
        frames: Iterator[Frame],
        *,
        live: bool,
        show: Callable[[Frame], None],
        stopped: Callable[[], bool],
    ) -> Iterator[Frame]:
        """Yield the frames that count.

        Args:
            frames: the camera's.
            live: whether the camera goes on meanwhile: its frames are shown and left out. A
                stored source waits, so that none of its images is lost.
            show: called with frames that are left out.
            stopped: whether the run is to end.
        """
        while True:
            while self.wanted and not live and not stopped():
                self._going.wait(_LOOK_SECONDS)
            if stopped():
                return
            frame = next(frames, None)
            if frame is None:
                return
            if self.wanted and live:
                self.left_out += 1
                show(frame)
            else:
                yield frame
