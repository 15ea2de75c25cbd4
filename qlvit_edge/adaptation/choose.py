"""Which way of fitting a network is handed out, and what can be said of it.

With labels: cross-validation. A way that learns from labels is measured on folds that it did not
see; the simplest way is taken whose mean recall lies within one standard error of the best (of the
paired difference, Breiman et al. 1984), and nothing that is worse than what there was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.evaluation.metrics import bootstrap_interval

FOLDS: Final = 3
LEAST_PER_CLASS: Final = 5


@dataclass(frozen=True)
class Trial:
    """A way that was tried on labelled cells.

    Attributes:
        name: of the way.
        right: share of right answers per labelled cell (N,), 0 to 1, over repetitions.
    """

    name: str
    right: NDArray[np.float64]


@dataclass(frozen=True)
class Recall:
    """Mean recall over the classes that have labelled cells.

    Attributes:
        value: 0 to 1.
        low: end of its 95 % interval, sources drawn again.
        high: the other end.
        by_class: recall by index of the class.
    """

    value: float
    low: float
    high: float
    by_class: dict[int, float]


def folds_of(
    labels: NDArray[np.int64], groups: Sequence[str], seed: int, count: int = FOLDS
) -> NDArray[np.int64]:
    """Divide cells into folds that have every class alike; returns each cell's fold (N,).

    Args:
        labels: of the cells (N,).
        groups: the source of each, or what else tells copies of one cell: never in two folds.
        seed: of the draw.
        count: of folds.
    """
    rng = np.random.default_rng(seed)
    names, first, members = np.unique(groups, return_index=True, return_inverse=True)
    fold_of_group = np.empty(len(names), np.int64)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels[first] == label))
        fold_of_group[own] = (np.arange(len(own)) + int(rng.integers(count))) % count
    return np.asarray(fold_of_group[members], np.int64)


def mean_recall(right: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean over classes of the share of right answers."""
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def recall_of(
    trial: Trial, labels: NDArray[np.int64], groups: Sequence[str], seed: int = 0
) -> Recall:
    """Return the mean recall of a trial, with an interval from drawing sources again."""

    def figure(drawn: NDArray[np.int64]) -> float:
        return mean_recall(trial.right[drawn], labels[drawn])

    low, high = bootstrap_interval(groups, figure, seed=seed)
    found = {int(label): float(trial.right[labels == label].mean()) for label in np.unique(labels)}
    return Recall(mean_recall(trial.right, labels), low, high, found)


def standard_error(difference: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the standard error of a mean recall's difference, from each cell's own (N,)."""
    classes = np.unique(labels)
    variances = []
    for label in classes:
        own = difference[labels == label]
        variances.append(own.var(ddof=1) / len(own) if len(own) > 1 else 0.25)
    return float(np.sqrt(np.sum(variances)) / len(classes))


def chosen(trials: Sequence[Trial], labels: NDArray[np.int64]) -> Trial:
    """Choose among trials, the simplest first; the first is to change nothing.

    Args:
        trials: at least one.
        labels: of the labelled cells (N,).

    Returns:
        The simplest that is no worse than the first and within one standard error of the best.
    """
    values = [mean_recall(trial.right, labels) for trial in trials]
    best = trials[int(np.argmax(values))]
    for trial, value in zip(trials, values, strict=True):
        behind = max(values) - value
        if value >= values[0] and behind <= standard_error(best.right - trial.right, labels):
            return trial
    return best
