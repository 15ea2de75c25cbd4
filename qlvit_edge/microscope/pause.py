"""A run that is told to wait: a camera's picture goes on, nothing is counted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

from qlvit_edge.camera.base import Frame

_LOOK_SECONDS = 0.2


class Pause:
    """Whether a run is to wait; any thread may say so.

    Attributes:
        wanted: whether it is.
        left_out: frames of a camera that were left out so far.
        seconds: how long the run has waited so far.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self.seconds = 0.0
        self._spans: list[list[float | None]] = []
        self._going = threading.Event()
        self._going.set()

    @property
    def wanted(self) -> bool:
        """Whether the run is to wait."""
        return not self._going.is_set()

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        if wanted == self.wanted:
            return
        if wanted:
            self._spans.append([time.time(), None])
            self._going.clear()
        else:
            self._spans[-1][1] = time.time()
            self._going.set()

    def stored(self) -> str | None:
        """Return the pauses as JSON: [began, ended] each, seconds since 1970; None of none.

        The end of one that goes on is null.
        """
        return json.dumps(self._spans) if self._spans else None

    def frames(
        self,
        frames: Iterator[Frame],
        *,
        live: bool,
        show: Callable[[Frame], None],
        stopped: Callable[[], bool],
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[Frame]:
        """Yield the frames that count.

        Args:
            frames: the camera's.
            live: whether the camera goes on meanwhile: its frames are shown and left out. A
                stored source waits, so that none of its images is lost.
            show: called with frames that are left out.
            stopped: whether the run is to end.
            waited: called with the seconds that a pause took, piece by piece.
        """
        while True:
            began = time.perf_counter()
            while self.wanted and not live and not stopped():
                self._going.wait(_LOOK_SECONDS)
                began = self._note(began, waited)
            if stopped():
                return
            frame = next(frames, None)
            if frame is None:
                return
            if self.wanted and live:
                self.left_out += 1
                show(frame)
                self._note(began, waited)
            else:
                yield frame

    def _note(self, began: float, waited: Callable[[float], None]) -> float:
        """Count the time since then as waiting; return what time it is."""
        now = time.perf_counter()
        self.seconds += now - began
        waited(now - began)
        return now
