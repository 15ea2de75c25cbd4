"""Control limits learnt from the first checks, and the rules by which today is judged.

Rules are those of Westgard et al. (1981, "A multi-rule Shewhart chart for quality control in
clinical chemistry", Clin. Chem. 27:493-501), on values in standard deviations from the learnt mean.
A share of cells is turned into such a value by its binomial distribution (mid-P), a measure by
Student's t with the error of the learnt mean and deviation in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Final

from qlvit_edge.presence import present
from qlvit_edge.reference.checking import MEASURES
from qlvit_edge.reference.history import Record
from qlvit_edge.statistics import binomial_tail, incomplete_beta
from qlvit_edge.text import counted

LEARNT_FROM: Final = 20
"""Checks that limits are learnt from; laboratories take at least 20 days."""

LEAST_MEASURES: Final = 5
"""Checks from which a measure is judged at all, provisionally."""

FLOORS: Final = {"sharpness": 10.0}
"""Smallest standard deviation of a measure, else `_GREY_FLOOR`: that of rounding in a decoder."""

_GREY_FLOOR: Final = 0.5
_FARTHEST: Final = 8.0
_NORMAL: Final = NormalDist()

Judged = Callable[[Record], float | None]


@dataclass(frozen=True)
class Limits:
    """What is usual of one series.

    Attributes:
        centre: the learnt mean.
        deviations: from a check's value to standard deviations from the centre.
        checks: how many it was learnt from.
        is_share: whether it is a share of cells.
    """

    centre: float
    deviations: Judged
    checks: int
    is_share: bool


@dataclass(frozen=True)
class Series:
    """Something that is followed from check to check.

    Attributes:
        name: in words.
        value: of a check; None where it has none.
        parts: of a share: from a check to (successes, trials).
    """

    name: str
    value: Judged
    parts: Callable[[Record], tuple[int, int]] | None = None


def _share(part: str, whole: str) -> Callable[[Record], tuple[int, int]]:
    return lambda record: (getattr(record, part), getattr(record, whole))


def _quotient(parts: Callable[[Record], tuple[int, int]]) -> Judged:
    def value(record: Record) -> float | None:
        successes, trials = parts(record)
        return successes / trials if trials else None

    return value


def _measure(name: str) -> Judged:
    return lambda record: record.measures.get(name)


_LOCATED, _AGREED = _share("located", "labelled"), _share("agreed", "compared")

SERIES: Final = (
    Series("cells located", _quotient(_LOCATED), _LOCATED),
    Series("agreement", _quotient(_AGREED), _AGREED),
    *(Series(name, _measure(name)) for name in MEASURES),
)


def learnt(series: Series, records: Sequence[Record]) -> Limits | None:
    """Return the limits of a series from its first usable checks; None while there are too few."""
    usable = [
        record for record in records if not record.outside and series.value(record) is not None
    ][:LEARNT_FROM]
    if series.parts is not None:
        return _of_share(series, usable) if usable else None
    return _of_measure(series, usable) if len(usable) >= LEAST_MEASURES else None


def _of_share(series: Series, records: Sequence[Record]) -> Limits:
    parts = present(series.parts, f"the parts of {series.name}")
    successes, trials = (sum(parts(record)[at] for record in records) for at in (0, 1))
    share = (successes + 0.5) / (trials + 1)  # Jeffreys: none missed so far is not never

    def deviations(record: Record) -> float | None:
        found, of = parts(record)
        return share_deviations(found, of, share) if of else None

    return Limits(share, deviations, len(records), is_share=True)


def share_deviations(successes: int, trials: int, share: float) -> float:
    """Return how far a count lies from a share, in standard deviations of the normal curve."""
    above = binomial_tail(successes + 1, trials, share)
    here = binomial_tail(successes, trials, share) - above
    return _from_tails(1 - above - here / 2, above + here / 2)


def _of_measure(series: Series, records: Sequence[Record]) -> Limits:
    values = [value for record in records if (value := series.value(record)) is not None]
    mean, number = fmean(values), len(values)
    spread = max(stdev(values), FLOORS.get(series.name, _GREY_FLOOR))

    def deviations(record: Record) -> float | None:
        value = series.value(record)
        if value is None:
            return None
        return t_deviations((value - mean) / (spread * math.sqrt(1 + 1 / number)), number - 1)

    return Limits(mean, deviations, number, is_share=False)


def t_deviations(t: float, freedom: int) -> float:
    """Return a value of Student's t as the normal curve's with the same tail."""
    tail = incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return _from_tails(1 - tail, tail) if t >= 0 else _from_tails(tail, 1 - tail)


def _from_tails(below: float, above: float) -> float:
    """From probabilities on both sides to standard deviations; the smaller one is exact."""
    least = max(min(below, above), 1e-18)
    far = _NORMAL.inv_cdf(min(least, 0.5))
    return max(far, -_FARTHEST) if below < above else min(-far, _FARTHEST)


def broken_rules(limits: Limits, records: Sequence[Record], today: Record) -> list[str]:
    """Return the rules that today's check breaks, in words.

    While limits are learnt only the widest one holds. The rule for ten checks on one side of the
    mean is left out, as a mean that was learnt from 20 lies off by chance; so is that for four of
    shares, since a few cells cannot lie evenly around theirs.

    Args:
        limits: of the series.
        records: the earlier checks that can be held against today's.
        today: the newest one.
    """
    here = limits.deviations(today)
    if here is None:
        return []
    if abs(here) > 3:
        return [f"{_far(here)} standard deviations {_side(here)} the mean (1-3s)"]
    if limits.checks < LEARNT_FROM:
        return []
    before = [far for record in records if (far := limits.deviations(record)) is not None]
    row = [*before, here]
    rules = [(2, 2.0, "2-2s")] if limits.is_share else [(2, 2.0, "2-2s"), (4, 1.0, "4-1s")]
    broken = []
    for length, far, name in rules:
        if _in_a_row(row, length, far):
            what = f"{length} checks in a row more than {counted(int(far), 'standard deviation')}"
            broken.append(f"{what} {_side(here)} the mean ({name})")
    return broken


def _in_a_row(row: Sequence[float], length: int, far: float) -> bool:
    last = row[-length:]
    sides = {math.copysign(1, value) for value in last}
    return len(last) == length and len(sides) == 1 and all(abs(value) > far for value in last)


def _far(value: float) -> str:
    return "at least 8" if abs(value) >= _FARTHEST else f"{abs(value):.1f}"


def _side(value: float) -> str:
    return "above" if value > 0 else "below"
