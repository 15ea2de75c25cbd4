"""How right a model's answers are: accuracy with its interval, scores by class, confusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.evaluation import metrics
from qlvit_edge.statistics import clopper_pearson
from qlvit_edge.text import counted

NO_CELL = "(no cell found)"


@dataclass(frozen=True)
class ClassQuality:
    """Scores of one class.

    Attributes:
        images: of the class.
        recall: share of them that was recognised; None without images.
        precision: share of the answers with this class that is right.
        f1: harmonic mean of the two.
        auc: area under the curve of the class against the rest; None where one of the two
            has no images.
        auc_interval_95: its 95 % interval; None likewise.
    """

    images: int
    recall: float | None
    precision: float
    f1: float
    auc: float | None
    auc_interval_95: tuple[float, float] | None


@dataclass(frozen=True)
class MacroQuality:
    """Means over the classes that have images.

    Attributes:
        recall: mean recall.
        recall_interval_95: its 95 % interval.
        precision: mean precision.
        f1: mean F1.
        auc: mean area; None where no class has one.
        auc_interval_95: its 95 % interval, of draws in which a class has one; None likewise.
    """

    recall: float
    recall_interval_95: tuple[float, float]
    precision: float
    f1: float
    auc: float | None
    auc_interval_95: tuple[float, float] | None


@dataclass(frozen=True)
class Confusion:
    """True classes against answers.

    Attributes:
        rows: the true classes.
        columns: the answers: the classes, and `NO_CELL` if there was such an image.
        counts: images, by row and column.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: list[list[int]]


@dataclass(frozen=True)
class DomainQuality:
    """How right the answers are on the images of one microscope.

    Attributes:
        images: of the model's classes.
        sources: how many of what the bootstrap draws from.
        accuracy: share of right answers.
        accuracy_interval_95: its 95 % interval.
        macro_recall: mean over the classes that have images of it.
        macro_recall_interval_95: its 95 % interval.
    """

    images: int
    sources: int
    accuracy: float
    accuracy_interval_95: tuple[float, float]
    macro_recall: float
    macro_recall_interval_95: tuple[float, float]


@dataclass(frozen=True)
class Quality:
    """How right the answers are.

    Attributes:
        accuracy: share of right answers.
        accuracy_interval_95: its 95 % interval, by the bootstrap; exact where all draws are alike.
        interval_drawn_over: how many of what the bootstrap draws from, in words.
        sources: how many these are.
        macro: means over the classes.
        classes: by class.
        confusion: true classes against answers.
        domains: by microscope, where the data name any.
    """

    accuracy: float
    accuracy_interval_95: tuple[float, float]
    interval_drawn_over: str
    sources: int
    macro: MacroQuality
    classes: dict[str, ClassQuality]
    confusion: Confusion
    domains: dict[str, DomainQuality] = field(default_factory=dict)


@dataclass(frozen=True)
class Acceptance:
    """What is accepted.

    Attributes:
        accept_at: smallest probability of an accepted answer.
        guarded: whether the file has a guard, which has other limits besides.
        known: images of the model's classes.
        known_accepted: of these, accepted answers.
        known_accepted_right: of these, right ones.
        unknown: images of classes that the model does not know.
        unknown_accepted: of these, accepted answers: all of them are wrong.
        unknown_accepted_as: those, by the class they were taken for.
        unknown_by_folder: images and accepted ones, by class folder.
    """

    accept_at: float
    guarded: bool
    known: int
    known_accepted: int
    known_accepted_right: int
    unknown: int
    unknown_accepted: int
    unknown_accepted_as: dict[str, int]
    unknown_by_folder: dict[str, tuple[int, int]]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings."""
        are = "is" if self.known_accepted == 1 else "are"
        by = "By its guard" if self.guarded else f"At {self.accept_at:g} and above"
        said = [
            f"{by} {self.known_accepted} of "
            f"{counted(self.known, 'answer')} {are} accepted; {self.known_accepted_right} of "
            "these right."
        ]
        if self.unknown:
            taken = self.unknown_accepted_as.items()
            kinds = ", ".join(f"{count} as {name}" for name, count in taken)
            were = "was" if self.unknown_accepted == 1 else "were"
            said.append(
                f"Of {counted(self.unknown, 'unknown cell')} {self.unknown_accepted} {were} "
                "accepted"
                f"{f' ({kinds})' if kinds else ''}."
            )
        return tuple(said)


def measure_quality(
    classes: Sequence[str],
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    sources: Sequence[str],
    *,
    grouped: bool,
    domains: Sequence[str],
) -> Quality:
    """Compare answers with the truth.

    Args:
        classes: their names.
        truth: (N,) true classes.
        predicted: (N,) answers; the number of classes where no cell was found.
        probabilities: (N, classes).
        sources: N names; images of one source are drawn together for the intervals.
        grouped: whether sources are more than single images.
        domains: N microscopes; "" where nobody said.
    """
    count, drawn_from = len(classes), len(set(sources))
    # One more column than classes: images in which no cell was found.
    matrix = metrics.confusion_matrix(truth, predicted, count + 1)
    scores = metrics.per_class(matrix)[:count]
    areas = metrics.one_vs_rest_auc(truth, probabilities)
    present = [score for score, row in zip(scores, matrix, strict=False) if row.any()]
    mean = metrics.macro(present)
    answered = _Answered(truth, truth == predicted, sources, domains, probabilities)
    intervals = answered.intervals()
    known = [area for area in areas if not math.isnan(area)]
    lost = bool(matrix[:, count].any())
    return Quality(
        accuracy=metrics.accuracy(matrix),
        accuracy_interval_95=intervals.accuracy,
        interval_drawn_over=counted(drawn_from, "source" if grouped else "image"),
        sources=drawn_from,
        macro=MacroQuality(
            recall=mean.recall,
            recall_interval_95=intervals.macro_recall,
            precision=mean.precision,
            f1=mean.f1,
            auc=float(np.mean(known)) if known else None,
            auc_interval_95=intervals.macro_auc,
        ),
        classes={
            name: ClassQuality(
                images=int(matrix[index].sum()),
                recall=scores[index].recall if matrix[index].any() else None,
                precision=scores[index].precision,
                f1=scores[index].f1,
                auc=None if math.isnan(areas[index]) else areas[index],
                auc_interval_95=intervals.aucs[index],
            )
            for index, name in enumerate(classes)
        },
        confusion=Confusion(
            rows=tuple(classes),
            columns=(*classes, NO_CELL) if lost else tuple(classes),
            counts=matrix[:count, : count + lost].tolist(),
        ),
        domains=answered.by_domain(),
    )


@dataclass(frozen=True)
class _Intervals:
    """95 % intervals from the same draws; None of an area that no draw has."""

    accuracy: tuple[float, float]
    macro_recall: tuple[float, float]
    macro_auc: tuple[float, float] | None
    aucs: tuple[tuple[float, float] | None, ...]


@dataclass(frozen=True)
class _Answered:
    """Answers, and what they are drawn over.

    Attributes:
        truth: (N,) true classes.
        right: (N,) whether each is right.
        sources: N names.
        domains: N microscopes.
        probabilities: (N, classes); of no class where areas are not asked for.
    """

    truth: NDArray[np.int64]
    right: NDArray[np.bool_]
    sources: Sequence[str]
    domains: Sequence[str]
    probabilities: NDArray[np.float64]

    def intervals(self) -> _Intervals:
        """Draw sources again and again."""
        own = self.truth == np.arange(self.truth.max() + 1)[:, None]  # (classes, N)
        own = own[own.any(1)]
        accuracies, recalls, areas = [], [], []
        for weights in metrics.bootstrap_weights(self.sources, domains=self.domains):
            drawn = weights.astype(np.float64)
            hits = drawn * self.right
            accuracies.append(hits.sum(1) / drawn.sum(1))
            recalls.append(_mean_of_shares(hits @ own.T, drawn @ own.T))
            found = [
                metrics.weighted_aucs(self.truth == label, scores, drawn)
                for label, scores in enumerate(self.probabilities.T)
            ]
            areas.append(np.array(found).reshape(-1, len(drawn)))
        of_classes = np.concatenate(areas, axis=1)
        has = ~np.isnan(of_classes)
        return _Intervals(
            accuracy=self._limits(np.concatenate(accuracies)),
            macro_recall=self._limits(np.concatenate(recalls)),
            macro_auc=_middle(_mean_of_shares(np.where(has, of_classes, 0).T, has.T)),
            aucs=tuple(map(_middle, of_classes)),
        )

    def _limits(self, shares: NDArray[np.float64]) -> tuple[float, float]:
        """The middle of a share's draws; exact limits of so many sources where none differs.

        Draws of what is all right, or all from one source, are alike, and would claim certainty.
        """
        low, high = metrics.middle(shares)
        if low < high:
            return low, high
        sources = len(set(self.sources))
        return clopper_pearson(round(low * sources), sources)

    def by_domain(self) -> dict[str, DomainQuality]:
        """Return the quality on each microscope; none if nobody said which they are."""
        return {name: self._of(name) for name in sorted(set(self.domains)) if name}

    def _of(self, domain: str) -> DomainQuality:
        own = np.array([index for index, name in enumerate(self.domains) if name == domain])
        truth, right = self.truth[own], self.right[own]
        sources = [self.sources[index] for index in own]
        part = _Answered(truth, right, sources, [domain] * len(own), np.zeros((len(own), 0)))
        intervals = part.intervals()
        return DomainQuality(
            images=len(own),
            sources=len(set(sources)),
            accuracy=float(right.mean()),
            accuracy_interval_95=intervals.accuracy,
            macro_recall=float(np.mean([right[truth == label].mean() for label in set(truth)])),
            macro_recall_interval_95=intervals.macro_recall,
        )


def _mean_of_shares(parts: NDArray[np.float64], wholes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean (draws,) of parts / wholes (draws, classes) where a whole is not 0."""
    shares = np.divide(parts, wholes, out=np.zeros(parts.shape), where=wholes > 0)
    there = (wholes > 0).sum(1)
    return np.where(there > 0, shares.sum(1) / np.maximum(there, 1), np.nan)


def _middle(figures: NDArray[np.float64]) -> tuple[float, float] | None:
    return None if np.isnan(figures).all() else metrics.middle(figures)
