"""What is accepted, and what not: verdicts, risk by coverage, known cells against unknown ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import VERDICTS, Verdict
from qlvit_edge.data.choose import evenly
from qlvit_edge.evaluation import metrics
from qlvit_edge.fields.quality import kind_of

MOST_POINTS = 100


@dataclass(frozen=True)
class RiskPoint:
    """One point of the risk–coverage curve.

    Attributes:
        coverage: share of all answers that are at least so trusted.
        risk: share of these that is wrong.
    """

    coverage: float
    risk: float


@dataclass(frozen=True)
class Guarding:
    """What comes of the verdicts.

    Attributes:
        guard: whether the file has a guard; otherwise the probability alone decides.
        verdicts: images of known classes, by verdict; those without a cell have none.
        abstained: images of known classes that are not fit to be judged, by reason.
        accuracy_of_fit: share of right answers among the others, of which those without a cell
            are wrong; None where there is none.
        accepted_and_wrong: share of all these images whose answer is accepted and wrong.
        risk_coverage: from the most trusted answers to all.
        unknown_verdicts: images of unknown classes, by verdict.
        unknown_auc: chance that a known cell is trusted more than an unknown one; None without
            either.
    """

    guard: bool
    verdicts: dict[Verdict, int]
    abstained: dict[str, int]
    accuracy_of_fit: float | None
    accepted_and_wrong: float
    risk_coverage: tuple[RiskPoint, ...]
    unknown_verdicts: dict[Verdict, int]
    unknown_auc: float | None


@dataclass(frozen=True)
class Judged:
    """What decides on one answer.

    Attributes:
        verdict: on it; None where no cell was found.
        trust: see `qlvit_edge.guard.judge.Judge.trust`; the probability without a guard.
        right: whether it is right; never of a class that the model does not know.
        reason: for the verdict, in words; None where it is accepted or no cell was found.
    """

    verdict: Verdict | None
    trust: float
    right: bool
    reason: str | None = None


def measure_guarding(
    known: Sequence[Judged], unknown: Sequence[Judged], *, guard: bool
) -> Guarding:
    """Count verdicts and draw the curve.

    Args:
        known: of images of the model's classes.
        unknown: of images of other classes.
        guard: whether the file has a guard.
    """
    wrong = sum(one.verdict == "accepted" and not one.right for one in known)
    fit = [one.right for one in known if one.verdict != "abstained"]
    unfit = Counter(kind_of(one.reason) for one in known if one.verdict == "abstained")
    trust = np.array([one.trust for one in [*known, *unknown]])
    own = np.arange(len(trust)) < len(known)
    area = metrics.auc(own, trust)
    return Guarding(
        guard=guard,
        verdicts=_count(known),
        abstained=dict(sorted(unfit.items())),
        accuracy_of_fit=sum(fit) / len(fit) if fit else None,
        accepted_and_wrong=wrong / len(known) if known else 0.0,
        risk_coverage=risk_coverage(trust[own], np.array([one.right for one in known], bool)),
        unknown_verdicts=_count(unknown),
        unknown_auc=None if math.isnan(area) else area,
    )


def risk_coverage(trust: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[RiskPoint, ...]:
    """Return at most `MOST_POINTS` points of `metrics.risk_coverage`; none of no answers.

    Args:
        trust: (N,) the greater, the sooner an answer is accepted.
        right: (N,) whether it is right.
    """
    if not len(trust):
        return ()
    coverage, risk = metrics.risk_coverage(right, trust)
    return tuple(
        RiskPoint(float(coverage[index]), float(risk[index]))
        for index in evenly(len(coverage), MOST_POINTS)
    )


def _count(judged: Sequence[Judged]) -> dict[Verdict, int]:
    counts = Counter(one.verdict for one in judged)
    return {verdict: counts[verdict] for verdict in VERDICTS}
