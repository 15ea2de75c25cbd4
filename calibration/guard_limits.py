"""Where known cells end: limits at which a stated share of held-out ones is rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.guard_answers import Answer
from qlvit_edge.fields.quality import unfit
from qlvit_edge.guard.judge import Distances
from qlvit_edge.guard.statement import CELLS_NEEDED
from qlvit_edge.modelfile.guard import Bounds, Group, Measure, View

LEAST_OF_A_GROUP = 40
"""Held-out cells of a group below which it shares the limits of all."""

FOREIGN = 1.5
"""How many times farther (in distance) than known cells a foreign image lies."""

SHARES = {"distances": 0.4, "probability": 0.6}
"""How the rate at which known cells may be rejected is divided; see `docs/guard.md`."""

_ROOM = 0.25
"""Beyond the medians of known runs, as a share of their range."""

_RUN_MARGIN = 1.3
"""Of the median squared distance of a run, over the largest known."""

_SCORES = ("image", "own", "nearest", "neighbours")


@dataclass(frozen=True)
class Judged:
    """A held-out answer and what a guard without limits finds of it.

    Attributes:
        answer: the answer.
        distances: of its features.
        chance: calibrated probability of what it answered.
    """

    answer: Answer
    distances: Distances
    chance: float


def set_limits(
    held_out: Sequence[Judged],
    training: Sequence[Judged],
    groups: Sequence[tuple[str, View]],
    measures: Sequence[Measure],
    rate: float,
) -> tuple[list[Group], float]:
    """Return every group's limits and the smallest probability of an accepted answer.

    A share of the rate is for the distances, group by group; the probability takes the rest.

    Args:
        held_out: known cells of sources that training did not see.
        training: known cells that it saw; they are nearer, but of many more sources, so no limit
            may be narrower than theirs.
        groups: domain and view of every group.
        measures: of images.
        rate: share of them that may be rejected.
    """
    for_distances = rate * SHARES["distances"]
    made = [
        _limits_of(group, _of(held_out, number), _of(training, number), measures, for_distances)
        for number, group in enumerate(groups)
    ]
    inside = [
        judged
        for judged in held_out
        if _within(judged, made[judged.distances.group])
        and not unfit(judged.answer.measures, measures)
    ]
    allowed = max(int(rate * len(held_out)) - (len(held_out) - len(inside)), 0)
    chances = sorted(judged.chance for judged in inside)
    return made, chances[min(allowed, len(chances) - 1)] if chances else 1.0


def _within(judged: Judged, group: Group) -> bool:
    """Tell whether all distances are within a group's limits."""
    return all(getattr(judged.distances, name) <= getattr(group, name) for name in _SCORES)


def _of(judged: Sequence[Judged], group: int) -> list[Judged]:
    """Return those whose nearest cluster is of a group; all where these are too few."""
    own = [one for one in judged if one.distances.group == group]
    return own if len(own) >= LEAST_OF_A_GROUP else list(judged)


def _limits_of(
    group: tuple[str, View],
    held_out: Sequence[Judged],
    training: Sequence[Judged],
    measures: Sequence[Measure],
    rate: float,
) -> Group:
    """Set one group's limits so that at most ``rate`` of its held-out cells is beyond one."""
    both = [
        _jointly(np.array([[getattr(j.distances, s) for s in _SCORES] for j in judged]), rate)
        for judged in (held_out, training)
    ]
    limits = dict(zip(_SCORES, map(int, np.maximum(*both)), strict=True))
    known = [*held_out, *training]
    return Group(
        domain=group[0],
        view=group[1],
        **limits,
        run_image=_highest_median(known, lambda judged: judged.distances.image),
        run_nearest=_highest_median(held_out, lambda judged: judged.distances.nearest),
        bounds=[_bounds(known, measure.name) for measure in measures],
    )


def _jointly(table: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    """Return one limit per column, as many rows beyond each, so that ``rate`` is beyond any.

    Args:
        table: (N, scores).
        rate: share of rows.
    """
    ordered = np.sort(table, axis=0)
    best = ordered[-1]
    for limits in ordered[::-1]:
        if (table > limits).any(1).mean() > rate:
            break
        best = limits
    return np.asarray(best)


def _highest_median(own: Sequence[Judged], value: Callable[[Judged], float]) -> int:
    """Return up to which median of a squared distance a run is a known one."""
    return round(max(float(np.median(run)) for run in _runs(own, value)) * _RUN_MARGIN)


def _bounds(own: Sequence[Judged], name: str) -> Bounds:
    """Return between which medians of a measure a run is a known one."""
    medians = [float(np.median(run)) for run in _runs(own, lambda j: j.answer.measures[name])]
    aside = _ROOM * (max(medians) - min(medians)) + 1.0
    return Bounds(low=min(medians) - aside, high=max(medians) + aside)


def _runs(own: Sequence[Judged], value: Callable[[Judged], float]) -> list[list[float]]:
    """Cut cells into runs as a microscope might give them: one class, few sources."""
    order = sorted(own, key=lambda judged: (judged.answer.label, judged.answer.source))
    count = max(1, len(order) // CELLS_NEEDED)
    edges = np.linspace(0, len(order), count + 1).astype(int)
    return [[value(judged) for judged in order[a:b]] for a, b in pairwise(edges)]
