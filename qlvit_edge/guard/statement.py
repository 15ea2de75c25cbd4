"""Whether a run's images and cells, all together, are those that the model was made for.

One cell may be odd by chance; the median of thirty is not. A run is compared with the known cells
that most of its cells are nearest to, in every measure of the images and in the features.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from qlvit_edge.guard.judge import Distances, Judgement
from qlvit_edge.modelfile.guard import Guard

CELLS_NEEDED: Final = 30
"""Cells after which a run is compared."""

MOST_KEPT: Final = 2000
"""Cells that are compared: the newest. A run goes on for days; what was is no excuse."""


UNGUARDED: Final = (
    "this file has no guard: an answer is accepted by its probability alone, whatever cell or "
    "microscope it is of"
)
"""What is to be said of every answer of a file without a guard."""

FEATURES: Final = "features"
IMAGE: Final = "stain, light and detail together"


_Seen = tuple[Distances, Mapping[str, int]]


@dataclass(frozen=True)
class Difference:
    """A measure in which a run differs from what the model was made for.

    Attributes:
        measure: its name; `IMAGE` and `FEATURES` for distances to known cells.
        median: of the run.
        low: of the known.
        high: of the known.
    """

    measure: str
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.measure in (IMAGE, FEATURES):
            times = self.median / self.high if self.high else float("inf")
            return f"{self.measure} {times:.1f} times the distance that known runs have at most"
        return f"{self.measure} {self.median:g}, known {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Finding:
    """What is to be said of a run so far.

    Attributes:
        cells: how many there were.
        familiar: whether they are what the model was made for; None before `CELLS_NEEDED`.
        differences: in what they differ; where they do not on the whole, in what the newest
            stretch differed that did.
        unlike: how many came in stretches of `CELLS_NEEDED` that differ by themselves.
    """

    cells: int
    familiar: bool | None
    differences: tuple[Difference, ...] = ()
    unlike: int = 0

    @property
    def sentence(self) -> str:
        """The finding, as people read it."""
        if self.familiar is None:
            return (
                "whether stain, light, focus, size and features are those that the model was made "
                f"for is not known before {CELLS_NEEDED} cells (so far {self.cells})"
            )
        differences = "; ".join(map(str, self.differences))
        if not self.familiar:
            return f"not the images that the model was made for: {differences}"
        known = "stain, light, focus, size and features are those that the model was made for"
        if not self.unlike:
            return known
        return (
            f"on the whole {known}, but not of {self.unlike} of {self.cells} cells, in stretches "
            f"of {CELLS_NEEDED}: {differences}"
        )

    @property
    def warning(self) -> str | None:
        """What stands beside accepted answers; None where nothing needs to."""
        if self.familiar and not self.unlike:
            return None
        if self.familiar is None:
            return f"accepted answers are provisional: {self.sentence}"
        if self.familiar:
            return f"do not rely on all accepted answers: {self.sentence}"
        return f"do not rely on accepted answers: {self.sentence}"


class RunStatement:
    """Gathers what is to be said of a run's cells."""

    def __init__(self, guard: Guard) -> None:
        """Begin with no cell."""
        self._guard = guard
        self._cells = 0
        self._seen: deque[_Seen] = deque(maxlen=MOST_KEPT)
        self._unlike = 0
        self._last: tuple[Difference, ...] = ()

    def add(self, judgement: Judgement | None) -> None:
        """Count one cell; None, of one that was not judged, counts for nothing."""
        if judgement is None:
            return
        self._cells += 1
        self._seen.append((judgement.distances, judgement.measures))
        if self._cells % CELLS_NEEDED:
            return
        # Of a slide or lamp that was changed in a long run the median of all says nothing yet.
        newest = [self._seen[-number] for number in range(1, CELLS_NEEDED + 1)]
        if differences := tuple(self._differences(newest)):
            self._unlike += CELLS_NEEDED
            self._last = differences

    def finding(self) -> Finding:
        """Compare what was added with what the model was made for."""
        if self._cells < CELLS_NEEDED:
            return Finding(self._cells, None)
        differences = tuple(self._differences(self._seen))
        familiar = not differences
        return Finding(self._cells, familiar, differences or self._last, self._unlike)

    def _differences(self, seen: Collection[_Seen]) -> Iterator[Difference]:
        most, _ = Counter(distances.group for distances, _ in seen).most_common(1)[0]
        group = self._guard.groups[most]
        for name, limit in ((IMAGE, group.run_image), (FEATURES, group.run_nearest)):
            far = [d.image if name == IMAGE else d.nearest for d, _ in seen]
            if (middle := median(far)) > limit:
                yield Difference(name, middle**0.5, 0.0, limit**0.5)
        for measure, bounds in zip(self._guard.measures, group.bounds, strict=True):
            values = [measures[measure.name] for _, measures in seen]
            if not bounds.low <= (middle := median(values)) <= bounds.high:
                yield Difference(measure.name, middle, bounds.low, bounds.high)
