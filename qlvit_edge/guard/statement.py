"""Whether a run's images and cells, all together, are those that the model was made for.

One cell may be odd by chance; the median of thirty is not. A run is compared with the known cells
that most of its cells are nearest to, in every measure of the images and in the features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from qlvit_edge.guard.judge import Distances
from qlvit_edge.modelfile.guard import Guard

CELLS_NEEDED: Final = 30
"""Cells after which a run is compared."""

MOST_KEPT: Final = 2000
"""Cells that are compared: the newest. A run goes on for days; what was is no excuse."""


FEATURES: Final = "features"
IMAGE: Final = "stain, light and detail together"


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


class RunStatement:
    """What is to be said of a run's cells so far.

    Attributes:
        cells: how many were added.
    """

    def __init__(self, guard: Guard) -> None:
        """Begin with no cell."""
        self._guard = guard
        self._seen: list[tuple[Distances, Mapping[str, int]]] = []
        self.cells = 0

    def add(self, distances: Distances, measures: Mapping[str, int]) -> None:
        """Count one cell.

        Args:
            distances: of its features.
            measures: of its image, by name.
        """
        self.cells += 1
        self._seen.append((distances, measures))
        if len(self._seen) > MOST_KEPT:
            del self._seen[: len(self._seen) - MOST_KEPT]

    def differences(self) -> tuple[Difference, ...] | None:
        """Return in what the run differs, nothing if in nothing; None before `CELLS_NEEDED`."""
        if self.cells < CELLS_NEEDED:
            return None
        most, _ = Counter(distances.group for distances, _ in self._seen).most_common(1)[0]
        group = self._guard.groups[most]
        found = []
        for measure, bounds in zip(self._guard.measures, group.bounds, strict=True):
            values = [m[measure.name] for _, m in self._seen if measure.name in m]
            middle = median(values) if values else bounds.low
            if not bounds.low <= middle <= bounds.high:
                found.append(Difference(measure.name, middle, bounds.low, bounds.high))
        for name, limit in ((IMAGE, group.run_image), (FEATURES, group.run_nearest)):
            far = [d.image if name == IMAGE else d.nearest for d, _ in self._seen]
            if (middle := median(far)) > limit:
                found.append(Difference(name, middle**0.5, 0.0, limit**0.5))
        return tuple(found)

    @property
    def familiar(self) -> bool | None:
        """Whether the run is like what the model was made for; None before `CELLS_NEEDED`."""
        differences = self.differences()
        return None if differences is None else not differences

    @property
    def sentence(self) -> str:
        """The finding, as people read it."""
        differences = self.differences()
        if differences is None:
            return (
                f"Whether stain, light, focus, size and features are those that the model was "
                f"made for is not known before {CELLS_NEEDED} cells (so far {self.cells})."
            )
        if not differences:
            return "Stain, light, focus, size and features are those that the model was made for."
        return (
            "These are not the images that the model was made for: "
            f"{'; '.join(map(str, differences))}. Do not rely on accepted answers."
        )
