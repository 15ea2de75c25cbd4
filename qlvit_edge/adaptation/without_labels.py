"""Fitting to unlabelled cells: each step is kept only where nothing speaks against it.

Without labels no accuracy is known. What can be measured is whether a network answers views of
one cell alike (whole and cropped, turned), and how sure it is of them while it still tells
classes apart. A step is kept where cells that it did not learn from are answered more alike by it
than before; steps that would let classes vanish are undone.
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

SHARES: Final = (0.5, 1.0)
"""Shares of the new statistics that are tried."""

LEAST_CELLS: Final = 30
LEAST_FOR_SELF_TRAINING: Final = 100

_HELD_OUT: Final = 4
"""Every so many-th cell is held out of self-training, to judge it by."""

_VANISHED: Final = 0.3
"""A class with less than this part of the cells that it had has vanished."""

_RARE: Final = 5


@dataclass(frozen=True)
class Step:
    """One network that came of fitting.

    Attributes:
        method: what was done.
        share: of the new statistics.
        network: the result.
        likeness: mean over cells of the probability that two views of one cell are answered alike.
        shares: of the classes among its answers (classes,).
    """

    method: Method
    share: float
    network: QLViT
    likeness: float
    shares: NDArray[np.float64]


def likeness(found: Answers) -> float:
    """Return how alike views of one cell are answered: mean agreement of all pairs of views."""
    views = len(found.probabilities)
    total = found.probabilities.sum(0)
    pairs = (total**2).sum(1) - (found.probabilities**2).sum(2).sum(0)
    return float(pairs.mean() / (views * (views - 1)))


def judged(network: QLViT, views: NDArray[np.uint8], method: Method, share: float = 0.0) -> Step:
    """Return a network with what can be said of it by views (V, N, h, w, channels)."""
    found = answers(network, turned(views))
    classes = np.bincount(found.classes, minlength=found.mean.shape[1])
    return Step(method, share, network, likeness(found), classes / classes.sum())


def balanced_statistics(network: QLViT, views: NDArray[np.uint8], share: float) -> QLViT:
    """Return a network with statistics of these cells, classes weighed alike as far as known."""
    flat = np.concatenate(list(views))
    adapted = reestimated(network, flat, share=share)
    chances = drawing_chances(pseudo_labels(adapted, views))
    return reestimated(network, flat, share=share, weights=np.tile(chances, len(views)))


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
    for share in SHARES:
        adapted = balanced_statistics(network, views, share)
        steps.append(judged(adapted, views[:, held], "statistics", share))
        advance()
    if views.shape[1] >= LEAST_FOR_SELF_TRAINING:
        begin = best_of(steps)
        learnt = [cell for cell, out in zip(cells.photographs, held, strict=True) if not out]
        taught = self_trained(begin.network, learnt, views[:, ~held], seed, advance)
        steps.append(judged(taught, views[:, held], "self-training", begin.share))
    return steps


def work_of(cells: int) -> int:
    """Return how often `steps_without_labels` calls its ``advance``."""
    return len(SHARES) + (ROUNDS * STEPS if cells >= LEAST_FOR_SELF_TRAINING else 0)


def best_of(steps: list[Step]) -> Step:
    """Choose a step without labels, the first where nothing else speaks for one that follows."""
    best = steps[0]
    for step in steps[1:]:
        if step.likeness > best.likeness and not vanished(best, step):
            best = step
    return best


def vanished(before: Step, after: Step) -> list[int]:
    """Return the classes that a step has (nearly) lost, by index."""
    least = max(_RARE / 100, 0.0)
    return [
        int(label)
        for label in np.flatnonzero(before.shares >= least)
        if after.shares[label] < _VANISHED * before.shares[label]
    ]
