"""Fitting to unlabelled cells: each step is kept only where nothing speaks against it.

Without labels no accuracy is known. What can be measured is the information between cells and
answers: how sure a network is of each cell, averaged over views of it (whole, cropped, turned),
while it still gives many classes. A step is kept where it raises that on cells that it did not
learn from; one that lets a class vanish is not. Among statistics of one microscope's cells the
order by information was the order by accuracy (`docs/adapt.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.adaptation.answers import Answers, answers, turned
from qlvit_edge.adaptation.cells import Cells
from qlvit_edge.adaptation.self_training import (
    ROUNDS,
    STEPS,
    drawing_chances,
    pseudo_labels,
    self_trained,
)
from qlvit_edge.adaptation.statistics import reestimated
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.adapted import Method

STATISTICS: Final[tuple[tuple[float, bool], ...]] = ((0.5, False), (0.5, True), (1.0, True))
"""What is tried: the share of new statistics, and whether they are those of crops alone."""

LEAST_CELLS: Final = 30
LEAST_FOR_SELF_TRAINING: Final = 100

_HELD_OUT: Final = 4
"""Every so many-th cell is held out of self-training, to judge it by."""

_VANISHED: Final = 0.3
"""A class with less than this part of its share before, or of an even share, has vanished."""

_RARE: Final = 0.05
"""Of classes with a smaller share of the answers nothing is said: a few cells make them."""


@dataclass(frozen=True)
class Step:
    """One network that came of fitting.

    Attributes:
        method: what was done.
        share: of the new statistics.
        network: the result.
        information: between cells and answers, in nats.
        shares: of the classes among its answers (classes,).
        crops_only: whether the statistics are those of crops alone.
    """

    method: Method
    share: float
    network: QLViT
    information: float
    shares: NDArray[np.float64]
    crops_only: bool = False

    @property
    def words(self) -> str:
        """What was done, for a table."""
        if self.method != "statistics":
            return self.method
        return f"statistics, {self.share:.0%} new{' (crops)' if self.crops_only else ''}"


def information(found: Answers) -> float:
    """Return the information between cells and answers in nats.

    It is the entropy of the mean answer less the mean entropy of the answers (Bridle et al. 1992).
    """
    return float(_entropy(found.mean.mean(0)) - _entropy(found.mean).mean())


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy in nats along the last axis."""
    return np.asarray(-(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(-1))


def judged(
    network: QLViT,
    views: NDArray[np.uint8],
    method: Method,
    share: float = 0.0,
    *,
    crops_only: bool = False,
) -> Step:
    """Return a network with what can be said of it by views (V, N, h, w, channels)."""
    found = answers(network, turned(views))
    classes = np.bincount(found.classes, minlength=found.mean.shape[1])
    shares = classes / classes.sum()
    return Step(method, share, network, information(found), shares, crops_only)


def balanced_statistics(
    network: QLViT, views: NDArray[np.uint8], share: float, *, crops_only: bool
) -> QLViT:
    """Return a network with statistics of these cells, classes weighed alike as far as known.

    Args:
        network: it is not changed.
        views: (2, N, h, w, channels) uint8, whole and cropped.
        share: of the new statistics.
        crops_only: leave out the whole pictures, which show more or less around the cell.
    """
    shown = views[1:] if crops_only else views
    flat = np.concatenate(list(shown))
    adapted = reestimated(network, flat, share=share)
    chances = drawing_chances(pseudo_labels(adapted, views))
    return reestimated(network, flat, share=share, weights=np.tile(chances, len(shown)))


def steps_without_labels(
    network: QLViT, cells: Cells, seed: int, advance: Callable[[], None]
) -> list[Step]:
    """Return every step of fitting to unlabelled cells, the unchanged network first.

    Args:
        network: as it was.
        cells: the cells.
        seed: of everything random.
        advance: called once per part of the work, `work_of(cells)` times.
    """
    views = cells.views
    held = np.arange(views.shape[1]) % _HELD_OUT == 0
    steps = [judged(network, views[:, held], "nothing")]
    for share, crops_only in STATISTICS:
        adapted = balanced_statistics(network, views, share, crops_only=crops_only)
        shown = views[:, held]
        steps.append(judged(adapted, shown, "statistics", share, crops_only=crops_only))
        advance()
    if views.shape[1] >= LEAST_FOR_SELF_TRAINING:
        begin = best_of(steps)
        learnt = [cell for cell, out in zip(cells.photographs, held, strict=True) if not out]
        taught = self_trained(begin.network, learnt, views[:, ~held], seed, advance)
        steps.append(
            judged(
                taught,
                views[:, held],
                "self-training",
                begin.share,
                crops_only=begin.crops_only,
            )
        )
    return steps


def work_of(cells: int) -> int:
    """Return how often `steps_without_labels` calls its ``advance``."""
    return len(STATISTICS) + (ROUNDS * STEPS if cells >= LEAST_FOR_SELF_TRAINING else 0)


def best_of(steps: list[Step]) -> Step:
    """Choose a step without labels, the first where nothing else speaks for one that follows."""
    best = steps[0]
    for step in steps[1:]:
        if step.information > best.information and not vanished(best, step):
            best = step
    return best


def vanished(before: Step, after: Step) -> list[int]:
    """Return the classes that a step has (nearly) lost, by index."""
    fair = np.minimum(before.shares, 1 / len(before.shares))
    lost = (before.shares >= _RARE) & (after.shares < _VANISHED * fair)
    return [int(label) for label in np.flatnonzero(lost)]
