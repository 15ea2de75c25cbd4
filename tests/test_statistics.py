"""Exact limits, against published tables and against enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qlvit_edge import statistics
from qlvit_edge.statistics import Pairs, binomial_tail, clopper_pearson


@pytest.mark.parametrize(("trials", "share"), [(1, 0.5), (7, 0.2), (40, 0.93)])
def test_the_tail_is_the_sum_of_its_terms(trials: int, share: float) -> None:
    for least in range(trials + 2):
        terms = (
            math.comb(trials, k) * share**k * (1 - share) ** (trials - k)
            for k in range(least, trials + 1)
        )
        assert binomial_tail(least, trials, share) == pytest.approx(sum(terms), abs=1e-12)


def test_the_tail_of_many_trials_stays_a_probability() -> None:
    assert binomial_tail(50_000, 100_000, 0.5) == pytest.approx(0.5, abs=0.002)
    assert binomial_tail(0, 100_000, 0.5) == binomial_tail(3, 5, 1.0) == 1.0
    assert binomial_tail(6, 5, 0.9) == binomial_tail(1, 5, 0.0) == 0.0


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Standard tables of the 95 % Clopper-Pearson limits.
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (1, 1, 0.025, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_clopper_pearson_is_that_of_the_tables(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        clopper_pearson(3, 2)


def test_mcnemars_test_is_exact() -> None:
    assert Pairs(60, 5, 0).p_value == pytest.approx(2 / 32)
    assert Pairs(60, 6, 0).p_value == pytest.approx(2 / 64)
    assert Pairs(60, 0, 6).p_value == pytest.approx(2 / 64)
    assert Pairs(60, 7, 7).p_value == Pairs(1, 0, 0).p_value == 1.0


def test_a_difference_is_shown_exactly_where_the_test_shows_it() -> None:
    for lost in range(13):
        for gained in range(13):
            pairs = Pairs(100, lost, gained)
            low, high = pairs.interval()
            assert low <= pairs.drop <= high
            shown = low > 0 or high < 0
            assert shown == (pairs.p_value < 0.05), (lost, gained)


def test_the_interval_mirrors_with_the_two_networks() -> None:
    low, high = Pairs(80, 9, 2).interval()
    assert Pairs(80, 2, 9).interval() == pytest.approx((-high, -low))


def test_a_sample_without_a_difference_does_not_show_that_there_is_none() -> None:
    assert Pairs(1, 0, 0).interval() == pytest.approx((-0.975, 0.975))
    low, high = Pairs(28, 0, 0).interval()
    assert (low, high) == pytest.approx((-0.1234, 0.1234), abs=1e-4)
    assert Pairs(0, 0, 0).interval() == (-1.0, 1.0)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, held = 0.05 - 0.02, 0
    for lost, gained, _ in rng.multinomial(200, [0.05, 0.02, 0.93], size=400):
        low, high = Pairs(200, int(lost), int(gained)).interval()
        held += low <= truth <= high
    assert held >= 0.95 * 400


@pytest.mark.parametrize("images", [400, 3000, 10_000])
def test_a_loss_that_is_no_greater_than_allowed_is_rarely_called_greater(images: int) -> None:
    """Over all samples of a network that loses 0.5 % and gains nothing, not over some."""
    allowed, called_greater = 0.005, 0.0
    for lost in range(round(3 * images * allowed) + 10):
        if Pairs(images, lost, 0).interval()[0] > allowed:
            called_greater += math.exp(
                math.lgamma(images + 1)
                - math.lgamma(lost + 1)
                - math.lgamma(images - lost + 1)
                + lost * math.log(allowed)
                + (images - lost) * math.log1p(-allowed)
            )
    assert called_greater <= 0.025


@pytest.mark.parametrize("successes", [1, 4, 900, 20_000, 39_990, 40_001])
@pytest.mark.parametrize("share", [1e-5, 0.0002, 0.02, 0.5, 0.999])
def test_the_tail_of_many_trials_is_the_sum_of_its_terms(
    successes: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = binomial_tail(successes, 40_001, share)
    monkeypatch.setattr(statistics, "_MOST_TERMS", 10**6)
    assert found == pytest.approx(binomial_tail(successes, 40_001, share), rel=1e-6, abs=1e-9)


def test_limits_of_huge_counts_are_those_of_the_normal_distribution() -> None:
    for trials in (10**7, 10**12):
        half = 1.959964 * math.sqrt(0.3 * 0.7 / trials)
        low, high = clopper_pearson(3 * trials // 10, trials)
        assert low == pytest.approx(0.3 - half, abs=half / 100)
        assert high == pytest.approx(0.3 + half, abs=half / 100)
    # The rule of three, for both limits together.
    assert clopper_pearson(0, 10**9) == pytest.approx((0, 3.689e-9), rel=1e-3)
