"""Figures of merit of a classifier, in NumPy.

Definitions are those of scikit-learn (the tests compare): a ratio whose denominator is zero
is 0, except that the AUC of a class without positives or negatives does not exist (NaN).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

RELIABILITY_BINS: Final = 10
"""Intervals of equal width, 0 to 1, in which probabilities are compared with what is right."""
_ROUNDS_AT_ONCE = 50
"""Of a bootstrap: a matrix of these by images is held in memory."""


@dataclass(frozen=True)
class Scores:
    """Recall, precision and F1 of one class or their mean over classes, as fractions."""

    recall: float
    precision: float
    f1: float


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count pairs of labels.

    Args:
        truth: (N,) labels below `classes`.
        predicted: (N,) labels below `classes`.
        classes: number of classes.

    Returns:
        (classes, classes) int64; rows are the truth, columns the prediction.

    Raises:
        ValueError: lengths differ or a label is out of range.
    """
    first, second = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"{first.shape} labels cannot be compared with {second.shape}")
    for labels in (first, second):
        if labels.size and (labels.min() < 0 or labels.max() >= classes):
            raise ValueError(f"a label lies outside 0 to {classes - 1}")
    counts = np.bincount(first * classes + second, minlength=classes * classes)
    return counts.reshape(classes, classes)


def accuracy(matrix: NDArray[np.int64]) -> float:
    """Share of right answers in a confusion matrix (0 without answers)."""
    return _ratio(float(np.trace(matrix)), float(matrix.sum()))


def per_class(matrix: NDArray[np.int64]) -> list[Scores]:
    """Return recall, precision and F1 of every class of a confusion matrix."""
    scores = []
    for index in range(len(matrix)):
        hits = float(matrix[index, index])
        positives, answers = float(matrix[index].sum()), float(matrix[:, index].sum())
        scores.append(
            Scores(
                recall=_ratio(hits, positives),
                precision=_ratio(hits, answers),
                f1=_ratio(2 * hits, positives + answers),
            )
        )
    return scores


def macro(scores: Sequence[Scores]) -> Scores:
    """Return the unweighted mean of the scores of some classes (zeros without any)."""
    if not scores:
        return Scores(0.0, 0.0, 0.0)
    return Scores(
        recall=float(np.mean([score.recall for score in scores])),
        precision=float(np.mean([score.precision for score in scores])),
        f1=float(np.mean([score.f1 for score in scores])),
    )


def auc(positive: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve from mid-ranks (Mann–Whitney), ties counting one half.

    Args:
        positive: (N,) bool, the class's own images.
        scores: (N,) its score for every image; greater means more likely.

    Returns:
        The area from 0 to 1, or NaN when one side is empty.
    """
    own = np.asarray(positive, bool)
    ours, others = int(own.sum()), int((~own).sum())
    if ours == 0 or others == 0:
        return float("nan")
    _, inverse, counts = np.unique(
        np.asarray(scores, np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    return float((ranks[own].sum() - ours * (ours + 1) / 2) / (ours * others))


def weighted_aucs(
    positive: ArrayLike, scores: ArrayLike, weights: ArrayLike
) -> NDArray[np.float64]:
    """Return `auc` of images that count several times or not at all, for many draws at once.

    Args:
        positive: (N,) bool, the class's own images.
        scores: (N,) its score for every image.
        weights: (draws, N) how often each image counts.

    Returns:
        (draws,) areas; NaN where one side has no image.
    """
    own = np.asarray(positive, bool)
    order = np.argsort(np.asarray(scores, np.float64), kind="stable")
    values = np.asarray(scores, np.float64)[order]
    begins = np.append(0, np.flatnonzero(np.diff(values)) + 1)  # of runs of equal scores
    drawn = np.asarray(weights, np.float64)[:, order]
    ours = np.add.reduceat(drawn * own[order], begins, axis=1)
    others = np.add.reduceat(drawn * ~own[order], begins, axis=1)
    below = np.cumsum(others, axis=1) - others / 2
    pairs = ours.sum(1) * others.sum(1)
    won = (ours * below).sum(1)
    areas = np.divide(won, pairs, out=np.full(len(drawn), np.nan), where=pairs > 0)
    return np.asarray(areas)


def one_vs_rest_auc(truth: ArrayLike, scores: ArrayLike) -> list[float]:
    """Return every class's AUC against the rest.

    Args:
        truth: (N,) labels.
        scores: (N, classes) scores comparable within a column.
    """
    labels, table = np.asarray(truth), np.asarray(scores)
    return [auc(labels == index, table[:, index]) for index in range(table.shape[1])]


def roc_curve(
    positive: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false- and true-positive rates at every threshold, from (0, 0) to (1, 1).

    Args:
        positive: (N,) bool with both values present.
        scores: (N,) scores.
    """
    own = np.asarray(positive, bool)
    values = np.asarray(scores, np.float64)
    order = np.argsort(-values, kind="stable")
    # Equal scores are one threshold: only the last of a run is a point of the curve.
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    true = np.append(0, np.cumsum(own[order])[ends]) / own.sum()
    false = np.append(0, np.cumsum(~own[order])[ends]) / (~own).sum()
    return false, true


def risk_coverage(
    right: ArrayLike, confidence: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what share of the answers given is wrong, for every share of cells answered.

    Cells are answered from the most confident on; equally confident ones all at once. The area
    under the curve is `risk_area`. (El-Yaniv and Wiener, "On the foundations of noise-free
    selective classification", JMLR 2010.)

    Args:
        right: (N,) whether each answer is right; N at least 1.
        confidence: (N,) how sure each is.

    Returns:
        Coverage (M,), rising to 1, and risk (M,), both shares; M distinct confidences.
    """
    own = np.asarray(right, bool)
    values = np.asarray(confidence, np.float64)
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    answered = ends + 1
    return answered / len(own), np.cumsum(~own[order])[ends] / answered


def risk_area(coverage: NDArray[np.float64], risk: NDArray[np.float64]) -> float:
    """Return the mean risk over all coverages: the area under a risk-coverage curve."""
    return float(np.sum(risk * np.diff(coverage, prepend=0.0)))


def risk_at(coverage: NDArray[np.float64], risk: NDArray[np.float64], wanted: float) -> float:
    """Return the risk where at least a share ``wanted`` of the cells is answered."""
    return float(risk[np.searchsorted(coverage, wanted - 1e-9)])


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose probability lies in one interval.

    Attributes:
        low: lower end of the interval, outside it (but 0 is inside the first one).
        high: upper end, inside it.
        answers: how many there are.
        mean_probability: of them; None without any.
        share_right: of them; None without any.
    """

    low: float
    high: float
    answers: int
    mean_probability: float | None
    share_right: float | None


def reliability(
    probability: ArrayLike, right: ArrayLike
) -> tuple[tuple[ReliabilityBin, ...], float | None]:
    """Compare the probabilities of answers with how often they are right.

    Args:
        probability: (N,) probability of each answer, 0 to 1.
        right: (N,) bool, whether it is right.

    Returns:
        `RELIABILITY_BINS` intervals of equal width, and the expected calibration error (Guo et
        al. 2017): the mean distance of share and probability, weighted by the answers; None
        without answers.
    """
    chances, hits = np.asarray(probability, np.float64), np.asarray(right, bool)
    edges = [number / RELIABILITY_BINS for number in range(RELIABILITY_BINS + 1)]
    places = np.clip(np.searchsorted(edges, chances, side="left") - 1, 0, RELIABILITY_BINS - 1)
    found, distance = [], 0.0
    for index in range(RELIABILITY_BINS):
        inside = places == index
        count = int(inside.sum())
        mean = float(chances[inside].mean()) if count else None
        share = float(hits[inside].mean()) if count else None
        if mean is not None and share is not None:
            distance += count * abs(mean - share)
        found.append(ReliabilityBin(edges[index], edges[index + 1], count, mean, share))
    return tuple(found), distance / len(chances) if len(chances) else None


def expected_calibration_error(chances: ArrayLike, right: ArrayLike) -> float:
    """Return the error of `reliability` alone, of one answer at least; arguments as of that."""
    _, error = reliability(chances, right)
    if error is None:
        raise ValueError("the calibration error of no answers")
    return error


def bootstrap_interval(
    groups: Sequence[Any],
    figure: Callable[[NDArray[np.int64]], float],
    *,
    domains: Sequence[str] | None = None,
    rounds: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a percentile interval of a figure when whole groups are drawn again.

    Copies of one photograph stand or fall together, so groups are drawn, not images. Each
    microscope's groups are drawn for themselves: which microscopes there are is no chance.

    Args:
        groups: the group (source) of each of the N images.
        figure: takes image numbers (with repetitions) and gives the figure.
        domains: the microscope of each image; a group with several counts to its first one.
        rounds: number of draws.
        confidence: share of the draws inside the interval.
        seed: of the draws.

    Raises:
        ValueError: there are no images.
    """
    images = np.arange(len(groups))
    figures = [
        figure(np.repeat(images, row))
        for weights in bootstrap_weights(groups, domains=domains, rounds=rounds, seed=seed)
        for row in weights
    ]
    return middle(figures, confidence)


def bootstrap_weights(
    groups: Sequence[Any],
    *,
    domains: Sequence[str] | None = None,
    rounds: int = 1000,
    seed: int = 0,
) -> Iterator[NDArray[np.int64]]:
    """Yield how often each image is drawn, (rounds, N), some rounds at a time.

    See `bootstrap_interval`, of which these are the draws.

    Raises:
        ValueError: there are no images.
    """
    if not len(groups):
        raise ValueError("there is nothing to draw from")
    names, group_of = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    strata: dict[str, list[int]] = {}
    for number, first in enumerate(np.unique(group_of, return_index=True)[1]):
        strata.setdefault("" if domains is None else domains[first], []).append(number)
    members = [np.array(own) for own in strata.values()]
    generator = np.random.default_rng(seed)
    for start in range(0, rounds, _ROUNDS_AT_ONCE):
        counts = np.zeros((min(_ROUNDS_AT_ONCE, rounds - start), len(names)), np.int64)
        for row in counts:
            for own in members:
                drawn = generator.integers(len(own), size=len(own))
                row[own] = np.bincount(drawn, minlength=len(own))
        yield counts[:, group_of]


def middle(figures: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Return the limits of the middle part of some figures; those that are NaN do not count.

    Args:
        figures: (N,); at least one of them is a number.
        confidence: share of the figures inside the limits.
    """
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.asarray(figures, np.float64), [tail, 1 - tail])
    return float(low), float(high)


def percentiles(values: ArrayLike, ranks: Sequence[float] = (50, 90, 99)) -> dict[str, float]:
    """Return percentiles by name (`p50`, …), interpolated linearly.

    Raises:
        ValueError: there are no values.
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        raise ValueError("percentiles of nothing")
    return {f"p{rank:g}": float(np.percentile(array, rank)) for rank in ranks}


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
