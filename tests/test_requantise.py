"""Fixed-point multiplication against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlvit_edge.integer.requantise import (
    multiply_64_by_quantized_multiplier,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantise,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

INT32 = st.integers(-(2**31), 2**31 - 1)
MULTIPLIER = st.integers(2**30, 2**31 - 1)


def half_away(x: Fraction) -> int:
    magnitude = math.floor(abs(x) + Fraction(1, 2))
    return magnitude if x >= 0 else -magnitude


@given(INT32, MULTIPLIER)
def test_high_mul_rounds_the_exact_product_with_ties_upwards(x, multiplier):
    exact = Fraction(x * multiplier, 2**31)
    got = saturating_rounding_doubling_high_mul(np.array([x]), multiplier)[0]
    assert got == math.floor(exact + Fraction(1, 2))


@given(INT32, st.integers(0, 31))
def test_division_by_a_power_of_two_rounds_ties_away_from_zero(x, exponent):
    assert rounding_divide_by_pot(np.array([x]), exponent)[0] == half_away(Fraction(x, 2**exponent))


@pytest.mark.parametrize(("x", "quotient"), [(5, 3), (-5, -3), (6, 3), (-6, -3), (7, 4), (-7, -4)])
def test_ties_of_halving(x, quotient):
    assert rounding_divide_by_pot(np.array([x]), 1)[0] == quotient


@given(st.integers(-(2**20), 2**20), MULTIPLIER, st.integers(-31, 10))
def test_multiplication_rounds_twice(x, multiplier, shift):
    left, right = max(shift, 0), max(-shift, 0)
    high = math.floor(Fraction(x * 2**left * multiplier, 2**31) + Fraction(1, 2))
    want = half_away(Fraction(high, 2**right))
    assert multiply_by_quantized_multiplier(np.array([x]), multiplier, shift)[0] == want


@given(st.lists(st.tuples(INT32, MULTIPLIER, st.integers(-31, 0)), min_size=1, max_size=8))
def test_per_channel_factors_are_the_scalar_ones_side_by_side(channels):
    x, multiplier, shift = (np.array(column, np.int64) for column in zip(*channels, strict=True))
    together = multiply_by_quantized_multiplier(x, multiplier, shift)
    apart = [multiply_by_quantized_multiplier(np.array([a]), b, c)[0] for a, b, c in channels]
    assert together.tolist() == apart


@given(st.integers(-(2**38), 2**38), MULTIPLIER, st.integers(-31, -8))
def test_int64_sums_meet_a_16_bit_multiplier_and_are_rounded_once(x, multiplier, shift):
    reduced = min(math.floor(Fraction(multiplier, 2**16) + Fraction(1, 2)), 0x7FFF)
    want = math.floor(Fraction(x * reduced) / 2 ** (15 - shift) + Fraction(1, 2))
    assert multiply_64_by_quantized_multiplier(np.array([x]), multiplier, shift)[0] == want


@given(st.floats(1e-9, 1e6))
def test_a_quantised_multiplier_has_31_bits(real):
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(real) - 1) <= 2**-31


def test_multipliers_at_the_edges():
    assert quantize_multiplier(1.0) == (2**30, 1)
    assert quantize_multiplier(math.nextafter(1.0, 0.0)) == (2**30, 1)
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(2.0**-40) == (0, 0)


@pytest.mark.parametrize("real", [-1.0, math.inf, math.nan])
def test_impossible_multipliers_are_refused(real):
    with pytest.raises(ValueError, match="multiplier"):
        quantize_multiplier(real)


def test_requantise_saturates():
    got = requantise(np.array([-(10**6), -3, 0, 3, 10**6]), *quantize_multiplier(0.5), 10)
    assert got.dtype == np.int8
    assert got.tolist() == [-128, 9, 10, 12, 127]
