"""Limits beyond which an image is not fit to be judged, found on degraded copies of known cells.

Each way of degrading is tried in several strengths. Where the network's accuracy has fallen by two
points, the measure that shows it best gets its limit, so that most such copies are abstained from.
A limit never costs more than a small share of undegraded images, nor more than a few of any copies
on which accuracy is as it was. The images are those on which the guard's other limits are set, of
sources that the network was not trained with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.degradations import DEGRADATIONS, Degradation, Image, Side
from qlvit_edge.data.choose import evenly
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import cell_view, whole_view
from qlvit_edge.fields.quality import QUALITY, image_measures, unfit
from qlvit_edge.modelfile.guard import Degraded, Measure
from qlvit_edge.preprocess import decode
from qlvit_edge.presence import present

LOSS: Final = 0.02
"""Fall of accuracy from which on images are not fit to be judged."""

SPARED: Final = 0.01
"""Share of undegraded images that all limits together may cost."""

CAUGHT: Final = 0.9
"""Share of the copies at the strength where accuracy has fallen that a limit should catch."""

HARMED: Final = 0.1
"""Share of copies at a strength that does no harm that a limit may cost."""

LEAST_IMAGES: Final = 40
"""Images below which accuracy says nothing, and no limits are set."""

MOST_IMAGES: Final = 320
"""Images that are degraded: a standard error of one to two points, in half a minute."""

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
    costly: bool = False


def views_of(images: Sequence[LabelledImage], size: tuple[int, int], channels: int) -> list[View]:
    """Return at most `MOST_IMAGES` images by turns whole and as the crop that `run` would make.

    Args:
        images: evenly chosen from; in an order that has nothing to do with what they show, or
            sorted by it.
        size: height and width that the network is fed.
        channels: of the network's input.

    Raises:
        DataError: an image does not decode.
    """
    views = []
    for number, place in enumerate(evenly(len(images), MOST_IMAGES)):
        entry = images[place]
        show, name = (cell_view, "crop") if number % 2 == 0 else (whole_view, "whole image")
        pixels = show(decode(entry.path), size, channels)
        views.append(View(pixels, entry.label, f"{entry.domain} {name}"))
    return views


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
    groups = _large_groups(views)
    tried: list[_Copies] = []
    for degradation in DEGRADATIONS:
        copies = [_copies(degradation, s, answer, views, truth) for s in degradation.strengths]
        falling = never_rising([accuracy, *(made.accuracy for made in copies)])[1:]
        tried += [
            replace(made, costly=now <= accuracy - LOSS)
            for made, now in zip(copies, falling, strict=True)
        ]
        advance()
    limits = _limits(tried, _spared(measures, groups), groups)
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


def never_rising(values: Sequence[float]) -> list[float]:
    """Return the nearest sequence that never rises, in the sense of squares.

    By pooling adjacent violators: a stronger degradation never helps, so a rise is chance, as is
    a fall before it.
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (high, later), (low, earlier) = pools.pop(), pools.pop()
            both = earlier + later
            pools.append(((low * earlier + high * later) / both, both))
    return [mean for mean, count in pools for _ in range(count)]


def _copies(
    degradation: Degradation,
    strength: float,
    answer: Answering,
    views: Sequence[View],
    truth: NDArray[np.int64],
) -> _Copies:
    pixels = [degradation.apply(view.pixels, strength) for view in views]
    right = float((np.array([answer(one) for one in pixels]) == truth).mean())
    return _Copies(degradation, strength, right, [image_measures(one) for one in pixels])


def _large_groups(views: Sequence[View]) -> list[NDArray[np.int64]]:
    """Return the places of each group's views; of all together where no group is large enough."""
    names = np.array([view.group for view in views])
    groups = [np.flatnonzero(names == name) for name in sorted(set(names.tolist()))]
    return [group for group in groups if len(group) >= LEAST_IMAGES // 2] or [np.arange(len(names))]


def _spared(
    measures: Sequence[Mapping[str, int]], groups: Sequence[NDArray[np.int64]]
) -> dict[_Key, int]:
    """Return the tightest limit on each side of each measure that undegraded images allow.

    In no group is a larger share beyond it.
    """
    share = SPARED / _SIDES
    spared: dict[_Key, int] = {}
    for name in QUALITY:
        values = np.array([found[name] for found in measures])
        parts = [np.sort(values[group]) for group in groups]
        spared[name, "low"] = min(int(part[int(share * len(part))]) for part in parts)
        spared[name, "high"] = max(int(part[-1 - int(share * len(part))]) for part in parts)
    return spared


def _limits(
    tried: Sequence[_Copies], spared: Mapping[_Key, int], groups: Sequence[NDArray[np.int64]]
) -> dict[_Key, int]:
    """Return a limit for every way of degrading that costs accuracy, where a measure shows it."""
    limits: dict[_Key, int] = {}
    harmless = [made.measures for made in tried if not made.costly]
    for degradation in DEGRADATIONS:
        costly = [made for made in tried if made.degradation is degradation and made.costly]
        if costly:
            key, limit = _limit(degradation, costly[0].measures, groups, spared, harmless)
            limits[key] = _tighter(key[1], limits.get(key), limit)
    return limits


def _limit(
    degradation: Degradation,
    measures: Sequence[Mapping[str, int]],
    groups: Sequence[NDArray[np.int64]],
    spared: Mapping[_Key, int],
    harmless: Sequence[Sequence[Mapping[str, int]]],
) -> tuple[_Key, int]:
    """Return the measure that shows a degradation best, its side, and the limit there.

    No tighter than what undegraded and harmless images of every group allow, nor than what catches
    `CAUGHT` of the copies in the group where they are hardest to catch.
    """
    best: tuple[float, _Key, int] | None = None
    for name, side in degradation.seen_in:
        values = np.array([found[name] for found in measures])
        sign = 1 if side == "low" else -1
        # Of negated values a high side is a low one.
        edges = [sign * spared[name, side]]
        edges += [math.floor(max(_quantiles(sign * values, groups, CAUGHT))) + 1]
        kept = [sign * np.array([found[name] for found in one]) for one in harmless]
        edges += [math.floor(min(_quantiles(one, groups, HARMED))) for one in kept]
        limit = min(edges)
        caught = float((sign * values < limit).mean())
        if best is None or caught > best[0]:
            best = caught, (name, side), sign * limit
    _, measure, bound = present(best, "a measure that shows the degradation")
    return measure, bound


def _quantiles(
    values: NDArray[np.int64], groups: Sequence[NDArray[np.int64]], share: float
) -> list[float]:
    """Return the quantile at a share in every group."""
    return [float(np.quantile(values[group], share)) for group in groups]


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
