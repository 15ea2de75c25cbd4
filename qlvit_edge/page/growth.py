"""How the counts grew: a curve that takes the same room however long the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

FINEST_SECONDS = 1.0
"""Time from one point to the next, to begin with."""

MOST_POINTS = 400
"""With more, every other one is forgotten, and new ones come half as often."""


class Growth:
    """Cells of the differential over time, by class; any thread may ask.

    Attributes:
        labels: the classes, in the model's order.
    """

    def __init__(
        self,
        labels: Sequence[str],
        counts: Callable[[], Mapping[str, int]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at no time, with no cells.

        Args:
            labels: the classes of the differential.
            counts: returns its cells so far, by class.
            clock: seconds, from any beginning.
        """
        self.labels = tuple(labels)
        self._counts = counts
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._every = FINEST_SECONDS
        self._points: list[tuple[float, tuple[int, ...]]] = [(0.0, (0,) * len(self.labels))]

    def look(self, *, last: bool = False) -> None:
        """Add a point, if the last one is old enough.

        Args:
            last: add it in any case: the run has ended.
        """
        seconds = self._clock() - self._began
        with self._lock:
            if not last and seconds - self._points[-1][0] < self._every:
                return
            counts = self._counts()
            self._points.append((seconds, tuple(counts.get(label, 0) for label in self.labels)))
            if len(self._points) > MOST_POINTS:
                # The newest stays.
                self._points = self._points[:-1][::2] + self._points[-1:]
                self._every *= 2

    def curves(self) -> dict[str, object]:
        """Return seconds, and cells by class at these times, for JSON."""
        with self._lock:
            points = list(self._points)
        return {
            "seconds": [round(seconds, 1) for seconds, _ in points],
            "classes": {
                label: [counts[number] for _, counts in points]
                for number, label in enumerate(self.labels)
            },
        }
