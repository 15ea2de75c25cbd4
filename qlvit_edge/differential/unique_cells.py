"""The cells of a slide, each once, as the findings of stored frames tell them.

Each cell has the answer of its best view, see `qlvit_edge.slide.quality.quality_of`; a better view
that comes later takes its place, and with it the cell may change its class. Answers are not
averaged over views: a blurred or cut view is worse in a way that its probabilities do not say.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from qlvit_edge.differential.tally import UNPLACED, Tally


@dataclass(frozen=True)
class BestView:
    """What the best view of a cell says.

    Attributes:
        quality: how good the view is.
        label: the model's answer.
        verdict: see `qlvit_edge.choices.VERDICTS`.
        cut: whether the frame's edge cuts the cell, in its best view and so in all.
    """

    quality: float
    label: str
    verdict: str
    cut: bool


class UniqueCells:
    """Cells by their number on the slide.

    Attributes:
        doubtful: numbers of those that may be others, or none.
        unplaced: findings in frames without a place.
    """

    def __init__(self) -> None:
        self.doubtful: frozenset[int] = frozenset()
        self.unplaced = 0
        self._best: dict[int, BestView] = {}

    def note(self, number: int | None, view: BestView) -> None:
        """Note one finding of a cell; ``number`` is None in a frame without a place."""
        if number is None:
            self.unplaced += 1
        elif number not in self._best or view.quality > self._best[number].quality:
            self._best[number] = view

    def merge(self, gone: int, stays: int) -> None:
        """Make one of two cells."""
        if (view := self._best.pop(gone, None)) is not None:
            self.note(stays, view)

    def doubt(self, numbers: Collection[int]) -> None:
        """Say which cells are doubtful; all others are not."""
        self.doubtful = frozenset(numbers)

    def tally(self, labels: tuple[str, ...]) -> Tally:
        """Count them, each once."""
        tally = Tally(labels)
        for number, view in self._best.items():
            tally.add(view.label, view.verdict, cut=view.cut, doubtful=number in self.doubtful)
        tally.beside[UNPLACED] += self.unplaced
        return tally
