"""Limits beyond which an image is not fit to be judged, found on degraded copies of known cells.

Each way of degrading is made stronger until the network's accuracy has fallen by two points; the
measure that shows it best gets its limit there, so that most such copies are abstained from. A
limit never costs more than a small share of undegraded images; what leaves accuracy as it was gets
none. The images are those on which the guard's other limits are set, of sources that the network
was not trained with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.degradations import DEGRADATIONS, Degradation, Image, Side
from qlvit_edge.fields.quality import QUALITY, image_measures, unfit
from qlvit_edge.modelfile.guard import Degraded, Measure

LOSS: Final = 0.02
"""Fall of accuracy from which on images are not fit to be judged."""

SPARED: Final = 0.02
"""Share of undegraded images that all limits together may cost."""

CAUGHT: Final = 0.9
"""Share of the copies at the strength where accuracy has fallen that a limit should catch."""

LEAST_IMAGES: Final = 40
"""Images below which accuracy says nothing, and no limits are set."""

MOST_IMAGES: Final = 240
"""Images that are degraded: a standard error of one to two points, in seconds."""

_SIDES: Final = 2 * len(QUALITY)

Answering = Callable[[Image], int]
_Key = tuple[str, Side]


@dataclass(frozen=True)
class View:
    """An image as the network is fed it.

    Attributes:
        pixels: (h, w, channels) uint8.
        label: index of its class; below 0 where nobody said.
        group: images that share a microscope and a kind of view, in which each limit must spare
            the undegraded ones.
    """

    pixels: Image
    label: int
    group: str


@dataclass(frozen=True)
class Quality:
    """Limits, and how they were found.

    Attributes:
        measures: all of `QUALITY`, with limits where there is something to be had.
        degraded: at every strength that was tried, accuracy and the share abstained from.
    """

    measures: list[Measure]
    degraded: list[Degraded]


@dataclass(frozen=True)
class _Copies:
    """Degraded copies of all views at one strength."""

    degradation: Degradation
    strength: float
    accuracy: float
    measures: list[dict[str, int]]


def find_quality(
    answer: Answering, views: Sequence[View], advance: Callable[[], None] = lambda: None
) -> Quality:
    """Find the limits of a network.

    Args:
        answer: gives the index of the class that the network says.
        views: undegraded images. Where one's class is unknown, what the network says of it
            undegraded counts as right.
        advance: called once per degradation (`DEGRADATIONS`), for a progress bar.
    """
    if len(views) < LEAST_IMAGES:
        return Quality([Measure(name=name) for name in QUALITY], [])
    plain = [answer(view.pixels) for view in views]
    truth = np.array(
        [view.label if view.label >= 0 else said for view, said in zip(views, plain, strict=True)]
    )
    accuracy = float((truth == plain).mean())
    measures = [image_measures(view.pixels) for view in views]
    spared = _spared(measures, [view.group for view in views])
    limits: dict[_Key, int] = {}
    tried: list[_Copies] = []
    for degradation in DEGRADATIONS:
        copies = _until_it_costs(degradation, answer, views, truth, accuracy)
        tried += copies
        if copies[-1].accuracy <= accuracy - LOSS:
            key, limit = _limit(degradation, copies[-1].measures, spared)
            limits[key] = _tighter(key[1], limits.get(key), limit)
        advance()
    found = [
        Measure(name=name, fit_low=limits.get((name, "low")), fit_high=limits.get((name, "high")))
        for name in QUALITY
    ]
    rows = [_row("none", "", 1.0, accuracy, measures, found)]
    rows += [
        _row(c.degradation.name, c.degradation.unit, c.strength, c.accuracy, c.measures, found)
        for c in tried
    ]
    return Quality(found, rows)


def _until_it_costs(
    degradation: Degradation,
    answer: Answering,
    views: Sequence[View],
    truth: NDArray[np.int64],
    accuracy: float,
) -> list[_Copies]:
    """Degrade more and more, until accuracy has fallen by `LOSS` or there is no more."""
    made: list[_Copies] = []
    for strength in degradation.strengths:
        pixels = [degradation.apply(view.pixels, strength) for view in views]
        right = float((np.array([answer(one) for one in pixels]) == truth).mean())
        found = [image_measures(one) for one in pixels]
        made.append(_Copies(degradation, strength, right, found))
        if right <= accuracy - LOSS:
            break
    return made


def _spared(measures: Sequence[Mapping[str, int]], groups: Sequence[str]) -> dict[_Key, int]:
    """Return the tightest limit on each side of each measure that undegraded images allow.

    In every group the same share is beyond it; a group of few images is not asked.
    """
    share = SPARED / _SIDES
    spared: dict[_Key, int] = {}
    names = np.array(groups)
    large = [name for name in sorted(set(groups)) if (names == name).sum() >= LEAST_IMAGES // 2]
    for name in QUALITY:
        values = np.array([found[name] for found in measures])
        parts = [np.sort(values[names == group]) for group in large] or [np.sort(values)]
        places = [int(share * len(part)) for part in parts]
        spared[name, "low"] = int(min(p[n] for p, n in zip(parts, places, strict=True)))
        spared[name, "high"] = int(max(p[-1 - n] for p, n in zip(parts, places, strict=True)))
    return spared


def _limit(
    degradation: Degradation, measures: Sequence[Mapping[str, int]], spared: Mapping[_Key, int]
) -> tuple[_Key, int]:
    """Return the measure that shows a degradation best, its side, and the limit there.

    No tighter than what catches `CAUGHT` of the copies, nor than what undegraded images allow.
    """
    best: tuple[float, _Key, int] | None = None
    for name, side in degradation.seen_in:
        values = np.array([found[name] for found in measures])
        allowed = spared[name, side]
        if side == "low":
            limit = min(allowed, math.floor(float(np.quantile(values, CAUGHT))) + 1)
            caught = float((values < limit).mean())
        else:
            limit = max(allowed, math.ceil(float(np.quantile(values, 1 - CAUGHT))) - 1)
            caught = float((values > limit).mean())
        if best is None or caught > best[0]:
            best = caught, (name, side), limit
    assert best is not None, "a degradation names the measures that show it"
    return best[1], best[2]


def _tighter(side: Side, one: int | None, other: int) -> int:
    if one is None:
        return other
    return max(one, other) if side == "low" else min(one, other)


def _row(
    name: str,
    unit: str,
    strength: float,
    accuracy: float,
    measures: Sequence[Mapping[str, int]],
    limits: Sequence[Measure],
) -> Degraded:
    abstained = sum(bool(unfit(found, limits)) for found in measures) / len(measures)
    return Degraded(kind=name, unit=unit, strength=strength, accuracy=accuracy, abstained=abstained)
