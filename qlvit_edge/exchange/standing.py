"""The differential as it stands: what people said of a cell, and of the others what the model did.

Of a signed run people have decided on every cell, and it is theirs alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.differential.differential import Differential, Mistakes, differential_of
from qlvit_edge.differential.tally import UNPLACED, Tally
from qlvit_edge.review.store import ReviewedRun

_MIXED = "people looked at some of its cells"
"""Why such a count is not corrected for the model's mistakes."""


@dataclass(frozen=True)
class Standing:
    """A run's cells as they stand now.

    Attributes:
        differential: of them, not corrected for the model's mistakes.
        looked_at: cells on which people decided.
        excluded: of these, those that are not counted.
        doubtful: cells inside the differential that may be another finding of a counted one: of
            runs of files before format 6; later ones stand beside it.
        cells: all.
    """

    differential: Differential
    looked_at: int
    excluded: int
    doubtful: int
    cells: int

    @property
    def is_of_people(self) -> bool:
        """Whether people decided on every cell."""
        return self.cells == self.looked_at

    def statement(self) -> str:
        """Say whose classes are counted."""
        if self.is_of_people:
            return f"Classes as people confirmed or changed them, {self.cells} cells"
        return (
            f"Classes as the model says, except of {self.looked_at} of {self.cells} cells on which "
            "people decided"
        )


def standing_of(seen: ReviewedRun) -> Standing:
    """Return a run's cells as they stand: each once, by the class that people or the model gave."""
    tally = Tally(seen.labels, seen.added_labels)
    for cell in seen.cells:
        if cell.uncounted == UNPLACED:
            tally.beside[UNPLACED] += cell.decision is None or cell.final is not None
        elif cell.decision is None:
            tally.add(cell.label, cell.verdict, cut=cell.cut, doubtful=cell.uncounted is not None)
        elif cell.final is not None:
            tally.add(cell.final, "accepted", doubtful=cell.uncounted is not None)
    return Standing(
        differential=differential_of(tally, Mistakes(None, _MIXED), None),
        looked_at=sum(cell.decision is not None for cell in seen.cells),
        excluded=sum(cell.decision is not None and cell.final is None for cell in seen.cells),
        doubtful=sum(bool(cell.doubtful) and cell.uncounted is None for cell in seen.cells),
        cells=len(seen.cells),
    )


def scale_in_words(seen: ReviewedRun) -> str:
    """Say how long a pixel is and how that is known, or that it is not."""
    scale = seen.run.um_per_pixel
    if scale is None:
        return "Scale not known; lengths are in pixels"
    told = seen.run.calibration_facts
    said = [f"{scale:.4g} µm per pixel"]
    uncertainty = told.get("uncertainty_percent")
    if isinstance(uncertainty, int | float):
        said[0] += f" ± {uncertainty:.2g} %"
    said += [str(told[name]) for name in ("method", "measured_on") if told.get(name)]
    return ", ".join(said)
