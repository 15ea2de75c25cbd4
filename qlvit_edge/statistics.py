"""What a sample of images can tell: exact limits of shares, and of differences between pairs.

Two networks are shown the same images. Only the discordant ones tell them apart: those that one
has right and the other has not (McNemar 1947). Under chance alone a discordant image falls to
either side like a coin, so tests and limits are those of the binomial distribution, computed
exactly (Clopper and Pearson 1934); no sample is too small for them. Images count as independent;
where several are copies of one photograph the limits are narrower than they should be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
"""Of an interval, unless said otherwise."""

_HALVINGS = 60

_MOST_TERMS = 10_000
"""Of a tail that is summed term by term; beyond, it is worked out as a continued fraction."""

_FRACTIONS = 100_000


def binomial_tail(least: int, trials: int, share: float) -> float:
    """Return the probability of ``least`` or more successes in ``trials`` of a given share."""
    if least <= 0:
        return 1.0
    if least > trials or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    if trials > _MOST_TERMS:
        return incomplete_beta(least, trials - least + 1, share)
    counts = np.arange(least, trials + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    ways = factorials[trials] - factorials[counts] - factorials[trials - counts]
    logs = ways + counts * math.log(share) + (trials - counts) * math.log1p(-share)
    return min(1.0, float(np.exp(logs).sum()))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, which tails of a binomial and of t are.

    By its continued fraction (Abramowitz and Stegun 26.5.8) on the side where that is short,
    evaluated from the front (Lentz 1976).
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a + 1) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x))
    if front == 0:
        return 0.0
    tiny = 1e-300
    upper, lower = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    value = lower
    for m in range(1, _FRACTIONS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower = 1 / _away(1 + term * lower, tiny)
            upper = _away(1 + term / upper, tiny)
            value *= upper * lower
        if abs(upper * lower - 1) < 1e-14:
            break
    return min(1.0, front * value)


def _away(value: float, tiny: float) -> float:
    """Return a number that can be divided by."""
    return value if abs(value) > tiny else tiny


def clopper_pearson(
    successes: int, trials: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the exact limits of a share, 0 to 1; of no trials all of that.

    Args:
        successes: of the trials.
        trials: independent ones.
        confidence: of both limits together; each may be wrong in half of the rest.

    Raises:
        ValueError: there are more successes than trials, or fewer than none.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    tail = (1 - confidence) / 2
    low, high = 0.0, 1.0
    if successes > 0:
        low = _crossing(lambda share: binomial_tail(successes, trials, share), tail)
    if successes < trials:
        failures = trials - successes
        high = 1 - _crossing(lambda share: binomial_tail(failures, trials, share), tail)
    return low, high


def _crossing(rising: Callable[[float], float], level: float) -> float:
    """Return where a function that rises on 0 to 1 reaches ``level``, from below."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rising(middle) <= level:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True)
class Pairs:
    """One network against another on the same images.

    Attributes:
        images: how many both answered.
        lost: images that the first has right and the second has not.
        gained: images that the second has right and the first has not.
    """

    images: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """What the second loses, as a share of the images, -1 to 1."""
        return (self.lost - self.gained) / self.images if self.images else 0.0

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: how likely chance alone makes this difference."""
        discordant = self.lost + self.gained
        return min(1.0, 2 * binomial_tail(max(self.lost, self.gained), discordant, 0.5))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the limits of the drop, as shares.

        The drop is the share of discordant images times (2 q - 1), where q is the share of these
        that are lost. Of both the exact limits are taken, those that make the drop smallest and
        largest. So a difference is shown exactly where McNemar's exact test shows it, its least
        size allows for a sample that has more discordant images by chance, and a sample without
        any does not show that there are none.
        """
        discordant = self.lost + self.gained
        low, high = clopper_pearson(self.lost, discordant, confidence)
        fewest, most = clopper_pearson(discordant, self.images, confidence)
        least_drop, most_drop = 2 * low - 1, 2 * high - 1
        return (
            least_drop * (fewest if least_drop > 0 else most),
            most_drop * (most if most_drop > 0 else fewest),
        )
