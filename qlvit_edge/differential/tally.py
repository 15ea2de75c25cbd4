"""Cells as they come in: inside the differential by class, or beside it by the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from qlvit_edge.differential.white_cells import counted_classes

CUT: Final = "cut by the frame's edge"
UNCLASSED: Final = "unclassed"
DOUBTFUL: Final = "accepted, but doubtful"
"""Where each cell is counted once: it may be one that is counted already, or none."""

UNPLACED: Final = "in frames without a place"
"""Where each cell is counted once: findings of which nobody knows which cells they are."""

BESIDE: Final = (
    *(UNCLASSED, "unknown cell", "foreign image", "not fit to be judged"),
    *(DOUBTFUL, CUT, UNPLACED),
)
"""Why cells stand beside the differential, in the order of tables."""

_OF_VERDICT = {
    "uncertain": UNCLASSED,
    "unknown cell": "unknown cell",
    "foreign image": "foreign image",
    "abstained": "not fit to be judged",
}


@dataclass
class Tally:
    """Cells counted so far.

    Attributes:
        labels: the classes that a cell can have: the model's, in its order, then `added` ones.
        added: of these, those that people gave and the model does not have.
        accepted: whole cells whose answer was accepted, by class, also of those that are not
            counted.
        beside: all others, by `BESIDE`.
        counted: classes that the differential counts, see `counted_classes`.
    """

    labels: tuple[str, ...]
    added: tuple[str, ...] = ()
    accepted: Counter[str] = field(default_factory=Counter)
    beside: Counter[str] = field(default_factory=Counter)
    counted: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the classes that are counted."""
        of_model = tuple(label for label in self.labels if label not in self.added)
        self.counted = counted_classes(of_model, self.added)

    def add(
        self,
        label: str,
        verdict: str,
        *,
        cut: bool = False,
        doubtful: bool = False,
        cells: int = 1,
    ) -> None:
        """Add cells of one kind.

        Args:
            label: the model's answer.
            verdict: see `qlvit_edge.choices.VERDICTS`.
            cut: whether the frame's edge cuts them: what is seen of them may be half a nucleus,
                and the next frame has them again.
            doubtful: whether they may be others that are counted, or none: an accepted one then
                stands beside the differential. What is not accepted stands there anyway, under
                what was found: an unknown cell is looked at wherever it lies.
            cells: how many.

        Raises:
            ValueError: the model has no such class, or there is no such verdict.
        """
        if label not in self.labels:
            raise ValueError(f"no class {label!r}")
        if cut:
            self.beside[CUT] += cells
        elif verdict == "accepted" and doubtful:
            self.beside[DOUBTFUL] += cells
        elif verdict == "accepted":
            self.accepted[label] += cells
        elif verdict in _OF_VERDICT:
            self.beside[_OF_VERDICT[verdict]] += cells
        else:
            raise ValueError(f"no verdict {verdict!r}")

    def add_all(self, cells: Iterable[tuple[str, str, bool]]) -> None:
        """Add cells one by one, as (label, verdict, cut)."""
        for label, verdict, cut in cells:
            self.add(label, verdict, cut=cut)

    def counts(self, label: str, verdict: str, *, cut: bool) -> bool:
        """Tell whether a cell is one of the differential: whole, accepted, of a counted class."""
        return verdict == "accepted" and not cut and label in self.counted

    @property
    def total(self) -> int:
        """How many cells are counted in the differential."""
        return sum(self.accepted[label] for label in self.counted)

    @property
    def apart(self) -> dict[str, int]:
        """Accepted cells of the classes that are not counted."""
        return {label: self.accepted[label] for label in self.labels if label not in self.counted}
