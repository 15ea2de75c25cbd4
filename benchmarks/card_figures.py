"""Figures of a model's card, from the rows of `card_rows.py`. Shares are 0 to 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from card_rows import Row

from qlvit_edge.evaluation.metrics import bootstrap_interval, reliability

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
Interval = tuple[float, float, float]
"""A figure and the limits of its 95 % interval, by bootstrap over sources."""


@dataclass(frozen=True)
class Known:
    """How right a model is about cells of its classes, in one place and one view.

    Attributes:
        images, sources: how many; without those in which the finder found no cell.
        without_cell: images in which it found none.
        macro_recall: mean over the classes that are there, whatever the verdict.
        recalls: class → (right, images).
        accepted: share of answers that are accepted; the rest is abstained.
        accepted_right: share of the accepted that is right.
        accepted_wrong: share of all answers that is accepted and wrong.
        calibration_error: expected calibration error of the probabilities.
        risk: share of wrong answers among the most probable share of all (`COVERAGES`).
    """

    images: int
    sources: int
    without_cell: int
    macro_recall: Interval
    recalls: dict[str, tuple[int, int]]
    accepted: Interval
    accepted_right: Interval | None
    accepted_wrong: Interval
    calibration_error: float
    risk: dict[float, float]


@dataclass(frozen=True)
class Unknown:
    """What a model makes of cells that it does not know.

    Attributes:
        images: of the kind; without those in which the finder found no cell.
        accepted: how many were accepted as a normal cell.
        accepted_as: class → how many.
        verdicts: verdict → how many.
    """

    images: int
    accepted: int
    accepted_as: dict[str, int]
    verdicts: dict[str, int]


def known(rows: Sequence[Row]) -> Known:
    """Measure answers to cells of the model's classes.

    Raises:
        ValueError: there is none.
    """
    found = [row for row in rows if row.label and row.truth is not None]
    lost = sum(not row.label for row in rows)
    if not found:
        raise ValueError("no cell of a known class was answered")
    right = np.array([row.right for row in found])
    accepted = np.array([row.accepted for row in found])
    truth = np.array([row.truth for row in found])
    classes = sorted(set(truth.tolist()))

    def macro(drawn: Any) -> float:
        own, hits = truth[drawn], right[drawn]
        return float(np.mean([hits[own == name].mean() for name in set(own.tolist())]))

    def accepted_right(drawn: Any) -> float:
        taken = right[drawn][accepted[drawn]]
        return float(taken.mean()) if len(taken) else np.nan

    chances = np.array([row.probability for row in found])
    _, error = reliability(chances, right)
    return Known(
        images=len(found),
        sources=len({row.source for row in found}),
        without_cell=lost,
        macro_recall=_interval(found, macro),
        recalls={
            name: (int(right[truth == name].sum()), int((truth == name).sum())) for name in classes
        },
        accepted=_interval(found, lambda drawn: float(accepted[drawn].mean())),
        accepted_right=_interval(found, accepted_right) if accepted.any() else None,
        accepted_wrong=_interval(found, lambda drawn: float((accepted & ~right)[drawn].mean())),
        calibration_error=float(error or 0.0),
        risk=risk(chances, right),
    )


def risk(chances: Any, right: Any) -> dict[float, float]:
    """Return the share of wrong answers among the most probable ones, by their share of all."""
    order = np.argsort(-np.asarray(chances), kind="stable")
    wrong = ~np.asarray(right, bool)[order]
    counts = {share: max(1, round(share * len(wrong))) for share in COVERAGES}
    return {share: float(wrong[:count].mean()) for share, count in counts.items()}


def unknown(rows: Sequence[Row]) -> dict[str, Unknown]:
    """Count by kind what became of cells that the model does not know."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        if row.truth is None and row.label:
            kinds.setdefault(row.kind, []).append(row)
    return {
        kind: Unknown(
            images=len(own),
            accepted=sum(row.accepted for row in own),
            accepted_as=dict(Counter(row.label for row in own if row.accepted).most_common()),
            verdicts=dict(Counter(row.verdict for row in own).most_common()),
        )
        for kind, own in kinds.items()
    }


def as_json(figures: Known | dict[str, Unknown]) -> Any:
    """Return figures as plain values."""
    return (
        asdict(figures)
        if isinstance(figures, Known)
        else {k: asdict(v) for k, v in figures.items()}
    )


def _interval(rows: Sequence[Row], figure: Callable[[Any], float]) -> Interval:
    everything = figure(np.arange(len(rows)))
    return (everything, *bootstrap_interval([row.source for row in rows], figure))
