"""Observers that search for a range: what they must not do, and how closely they find it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qlvit_edge.calibration.observers import (
    Histogram,
    Range,
    TensorObserver,
    entropy_range,
    mse_range,
    require_finite,
)
from qlvit_edge.calibration.observers.clipping import divergence, expected_error
from qlvit_edge.errors import CalibrationError
from qlvit_edge.integer.uniform import dequantise, quantise, uniform_parameters


def observed(values: NDArray[np.float64]) -> tuple[Histogram, Range]:
    observer = TensorObserver()
    observer.update(values.astype(np.float32))
    return observer.histogram, (observer.low, observer.high)


def clipped(values: NDArray[np.float64], found: Range) -> float:
    """Share of the values that the quantiser moves by more than a step."""
    parameters = uniform_parameters(*found)
    moved = np.abs(dequantise(quantise(values, parameters), parameters) - values)
    return float((moved > parameters.scale).mean())


def _two_levels(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.repeat([1.0, 100.0], 500)


def _spike_and_tail(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.concatenate([np.full(6000, 0.02), rng.uniform(0.5, 50, 4000)])


def _behind_an_activation(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.maximum(rng.normal(-1, 1, 100_000), 0)


def _far_from_zero(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(10, 0.01, 10_000)


def _gates(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.where(rng.random(10_000) < 0.5, 0.001, 0.999) + rng.normal(0, 1e-4, 10_000)


@pytest.mark.parametrize(
    "values", [_two_levels, _spike_and_tail, _behind_an_activation, _far_from_zero, _gates]
)
def test_entropy_does_not_clip_what_the_values_consist_of(
    values: Callable[[np.random.Generator], NDArray[np.float64]],
) -> None:
    drawn = values(np.random.default_rng(0))
    histogram, extremes = observed(drawn)
    assert clipped(drawn, entropy_range(histogram, extremes)) < 0.005


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-50, 50), st.integers(1, 1000)), min_size=1, max_size=8),
    st.integers(0, 3),
)
def test_no_mixture_of_spikes_is_clipped_by_entropy(
    spikes: list[tuple[float, int]], noise: int
) -> None:
    rng = np.random.default_rng(noise)
    values = np.concatenate([np.full(count, place) for place, count in spikes])
    values = values + rng.normal(0, 0.05 * noise, len(values))
    histogram, extremes = observed(values)
    found = entropy_range(histogram, extremes)
    # At most the outer slope of a spike is cut.
    assert clipped(values, (found[0] - 0.1 * noise, found[1] + 0.1 * noise)) < 0.1


def test_one_bin_inside_is_no_small_divergence() -> None:
    histogram, extremes = observed(np.repeat([1.0, 100.0], [400, 600]))
    assert divergence(histogram, extremes) == pytest.approx(0, abs=1e-9)
    # An extreme that is rounded to the outermost level is not clipped.
    both, ends = observed(np.array([3.0, 3.0, -1.0]))
    assert divergence(both, ends) == pytest.approx(0, abs=1e-9)
    # All that is inside is one bin, whether at the range's edge or in its middle.
    for high in (1.0, 1.002, 2.0, 50.0):
        assert divergence(histogram, (0.0, high)) > 0.5


def test_zeros_are_exact_and_call_for_no_finer_step() -> None:
    rng = np.random.default_rng(0)
    tail = np.abs(rng.normal(0, 1, 20_000))
    without = entropy_range(*observed(tail))
    with_zeros = entropy_range(*observed(np.concatenate([tail, np.zeros(200_000)])))
    assert with_zeros[1] == pytest.approx(without[1], rel=0.1)


def test_entropy_leaves_out_freak_values() -> None:
    values = np.append(np.random.default_rng(1).normal(0, 1, 100_000), [60.0, -60.0])
    low, high = entropy_range(*observed(values))
    assert -6 < low < -3
    assert 3 < high < 6


def test_expected_error_tells_ranges_apart_that_differ_by_less_than_a_bin() -> None:
    values = np.random.default_rng(2).uniform(-1, 1, 400_000)
    histogram, _ = observed(values)
    for high in (0.9, 0.9 + histogram.width / 3, 0.9 + histogram.width / 1.5):
        parameters = uniform_parameters(-1.0, high)
        error = np.square(dequantise(quantise(values, parameters), parameters) - values).mean()
        assert expected_error(histogram, (-1.0, high)) == pytest.approx(error, rel=0.01)


def test_mse_is_refined_between_the_fiftieths() -> None:
    rng = np.random.default_rng(3)
    for values in (rng.laplace(0, 1, 50_000), np.abs(rng.standard_t(3, 50_000))):
        histogram, extremes = observed(values)
        found = expected_error(histogram, mse_range(histogram, extremes))
        near = mse_range(histogram, extremes)
        lows, highs = (
            np.clip(end + np.linspace(-0.02, 0.02, 41) * outer, *sorted((0.0, outer)))
            for end, outer in zip(near, (min(extremes[0], 0.0), extremes[1]), strict=True)
        )
        best = min(
            expected_error(histogram, (float(low), float(high)))
            for low in np.unique(lows)
            for high in highs
        )
        assert found <= 1.0005 * best


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_tensor_that_is_not_finite_is_refused_and_named(value: float) -> None:
    values = np.array([1.0, value], np.float32)
    with pytest.raises(CalibrationError, match=r"^block0/skip: is infinite or not a number on A/1"):
        require_finite("block0/skip", values, "A/1.png")
    observer = TensorObserver()
    with pytest.raises(ValueError, match="infinite or not numbers"):
        observer.update(values)
    observer.update(np.array([1.0, 3e38], np.float32))
    assert observer.ranges()["minmax"] == pytest.approx((1.0, 3e38))
