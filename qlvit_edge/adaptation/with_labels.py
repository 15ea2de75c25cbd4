"""Fitting to labelled cells: what is learnt from labels is measured on labels it did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.adaptation.answers import answers
from qlvit_edge.adaptation.cells import Cells
from qlvit_edge.adaptation.choose import FOLDS, Trial, chosen, folds_of, mean_recall
from qlvit_edge.adaptation.fine_tuning import STEPS, fine_tuned
from qlvit_edge.adaptation.head import refitted, varied_features
from qlvit_edge.adaptation.without_labels import Step
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.adapted import Method

STRENGTHS: Final = (1e-4, 1e-3, 1e-2)
"""Penalties of the head that are tried."""

_HEAD_REPEATS: Final = 3


@dataclass(frozen=True)
class Fitted:
    """What labelled cells led to.

    Attributes:
        network: the result.
        method: how it was made.
        share: of the new statistics in it.
        before: answers of the unchanged network.
        after: of the chosen way, on folds that it did not see.
        tried: every way, the simplest first.
    """

    network: QLViT
    method: Method
    share: float
    before: Trial
    after: Trial
    tried: Sequence[Trial]


def fit_to_labels(
    steps: Sequence[Step],
    labelled: Cells,
    unlabelled: Cells,
    seed: int,
    advance: Callable[[], None],
) -> Fitted:
    """Fit a network to labelled cells, in the way that cross-validation chooses.

    Args:
        steps: of fitting without labels, the unchanged network first: where labels begin.
        labelled: the labelled cells.
        unlabelled: others of the same microscope.
        seed: of everything random.
        advance: called once per part of the work, `work_with_labels()` times at most.
    """
    labels = labelled.labels
    trials = [_seen_as(step, labelled) for step in steps]
    begin = _best(steps, trials, labels)
    features = varied_features(begin.network, labelled.photographs, seed)
    advance()
    heads = [_try_head(begin, features, labelled, strength, seed) for strength in STRENGTHS]
    values = [mean_recall(trial.right, labels) for trial in heads]
    # Of equals the strongest penalty: it moves the head least.
    place = max(range(len(values)), key=lambda index: (values[index], index))
    strength = STRENGTHS[place]
    advance()
    tuner = _Tuner(begin, features, strength, labelled, unlabelled, seed, advance)
    tuned = tuner.trial()
    trials += [heads[place], tuned]
    after = chosen(trials, labels)
    network, method = begin.network, begin.method
    if after is tuned:
        network, method = tuner.tuned(np.ones(len(labels), bool)), "fine-tuning"
    elif after is heads[place]:
        network, method = refitted(begin.network, features, labels, strength), "head"
    else:
        begin = steps[trials.index(after)]
        network, method = begin.network, begin.method
    return Fitted(network, method, begin.share, trials[0], after, trials)


def work_with_labels() -> int:
    """Return how often `fit_to_labels` calls its ``advance`` at most."""
    return 2 + (FOLDS + 1) * STEPS


def right_answers(network: QLViT, cells: Cells) -> NDArray[np.float64]:
    """Return 1 for each cell (N,) that a network answers rightly, else 0; views averaged."""
    right = answers(network, cells.views).classes == cells.labels
    return np.asarray(right, np.float64)


def _seen_as(step: Step, labelled: Cells) -> Trial:
    return Trial(step.words, right_answers(step.network, labelled))


def _best(steps: Sequence[Step], trials: Sequence[Trial], labels: NDArray[np.int64]) -> Step:
    """Choose where labels begin: the best of the steps, and of equals the last."""
    values = [mean_recall(trial.right, labels) for trial in trials]
    return steps[max(range(len(steps)), key=lambda index: (values[index], index))]


def _try_head(
    begin: Step, features: NDArray[np.float32], labelled: Cells, strength: float, seed: int
) -> Trial:
    """Measure a refitted head on folds that it did not see, several times."""
    labels, right = labelled.labels, []
    for repeat in range(_HEAD_REPEATS):
        folds = folds_of(labels, labelled.groups, seed + repeat)
        found = np.zeros(len(labels))
        for fold in range(FOLDS):
            kept = folds != fold
            network = refitted(begin.network, features[kept], labels[kept], strength)
            found[~kept] = right_answers(network, _some(labelled, ~kept))
        right.append(found)
    return Trial("head", np.mean(right, axis=0))


@dataclass(frozen=True)
class _Tuner:
    """Fine-tunes from a step and a head."""

    begin: Step
    features: NDArray[np.float32]
    strength: float
    labelled: Cells
    unlabelled: Cells
    seed: int
    advance: Callable[[], None]

    def tuned(self, kept: NDArray[np.bool_]) -> QLViT:
        """Return the network trained on some of the labelled cells; the rest teach unlabelled."""
        cells, labels = _some(self.labelled, kept), self.labelled.labels[kept]
        network = refitted(self.begin.network, self.features[kept], labels, self.strength)
        return fine_tuned(
            network,
            cells.photographs,
            labels,
            self.unlabelled.photographs,
            self.unlabelled.views,
            self.seed,
            self.advance,
        )

    def trial(self) -> Trial:
        """Measure fine-tuning on folds that it did not see."""
        labels = self.labelled.labels
        folds, right = folds_of(labels, self.labelled.groups, self.seed), np.zeros(len(labels))
        for fold in range(FOLDS):
            kept = folds != fold
            right[~kept] = right_answers(self.tuned(kept), _some(self.labelled, ~kept))
        return Trial("fine-tuning", right)


def _some(cells: Cells, kept: NDArray[np.bool_]) -> Cells:
    return Cells([cell for cell, keep in zip(cells.cells, kept, strict=True) if keep])
