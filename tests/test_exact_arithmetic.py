"""The NumPy reference against exact rational arithmetic, where rounding decides.

Bounds are in steps of the output (LSB). "Half away" is rounding to nearest with ties away from
zero, done on fractions.
"""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from one_operation import activation, constant, quantised

from qlvit_edge.converters.ops.elementwise import Mul
from qlvit_edge.converters.ops.reduction import Mean
from qlvit_edge.integer.log2_softmax import LOG_ZERO_POINT, log_table
from qlvit_edge.integer.requantise import (
    add_parameters,
    add_quantised,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantise,
)
from qlvit_edge.integer.tables import exp, logistic, lookup_table
from qlvit_edge.integer.uniform import quantise, quantise_weights, uniform_parameters

HALF = Fraction(1, 2)
BYTE = st.integers(-128, 127)
SCALE = st.floats(2**-12, 4.0, width=32)
MULTIPLIER = st.integers(2**30, 2**31 - 1)
MANY = settings(max_examples=200, deadline=None)


def half_away(x: Fraction) -> int:
    magnitude = math.floor(abs(x) + HALF)
    return magnitude if x >= 0 else -magnitude


def tie_distance(x: Fraction) -> Fraction:
    """How far x is from the nearest value between two integers."""
    return abs(x - math.floor(x) - HALF)


def second_rounding(shift: int) -> Fraction:
    """What the first rounding can add to the second one's half a step."""
    return Fraction(1, 2 ** (1 - shift)) if shift < 0 else Fraction(0)


@MANY
@given(st.integers(-(2**31), 2**31 - 1), MULTIPLIER, st.integers(-31, 0))
def test_double_rounding_leaves_the_exact_product_by_a_bound_and_only_near_ties(x, m, shift):
    exact = Fraction(x * m, 2 ** (31 - shift))
    got = int(multiply_by_quantized_multiplier(np.array([x]), m, shift)[0])
    assert abs(got - exact) <= HALF + second_rounding(shift)
    if got != half_away(exact):
        assert abs(got - half_away(exact)) == 1
        assert tie_distance(exact) <= second_rounding(shift)


@pytest.mark.parametrize(
    ("x", "shift", "exact", "got"),
    [
        (1, -1, Fraction(1, 4), 1),  # 0.5 goes up to 1, then 0.5 once more
        (-3, 0, Fraction(-3, 2), -1),  # a negative tie of the product goes up, not away
        (3, 0, Fraction(3, 2), 2),
        (-6, -1, Fraction(-3, 2), -2),  # a tie of the shift goes away
    ],
)
def test_where_the_kernels_rounding_is_not_half_away(x, shift, exact, got):
    assert Fraction(x * 2**30, 2 ** (31 - shift)) == exact
    assert multiply_by_quantized_multiplier(np.array([x]), 2**30, shift)[0] == got


@MANY
@given(st.integers(-(2**27), 2**27), st.floats(2**-31, 8.0), BYTE)
def test_requantise_saturates_the_exact_product(x, factor, zero_point):
    multiplier, shift = quantize_multiplier(factor)
    exact = Fraction(x) * Fraction(factor) + zero_point
    got = int(requantise(np.array([x]), multiplier, shift, zero_point)[0])
    # A multiplier of 31 bits is off by 2^-31 of itself at most.
    bound = HALF + second_rounding(shift) + abs(exact - zero_point) / 2**31
    assert abs(got - min(max(exact, -128), 127)) <= bound


@MANY
@given(
    st.integers(-1000, 1000),
    st.integers(-20, 3),
    st.sampled_from([0, Fraction(1, 2), Fraction(1, 4)]),
)
def test_the_uniform_quantiser_rounds_ties_away_from_zero(steps, power, part):
    parameters = uniform_parameters(-128 * 2.0**power, 127 * 2.0**power)
    assert parameters.scale == 2.0**power
    x = (steps + part) * Fraction(2) ** power
    want = min(max(half_away(steps + part) + parameters.zero_point, 0), 255)
    assert quantise(float(x), parameters) == want


@MANY
@given(st.floats(-100, 100), st.floats(-100, 0), st.floats(0, 100), st.sampled_from([2, 4, 8]))
def test_the_uniform_quantiser_is_the_exact_quotient_rounded(x, low, high, bits):
    parameters = uniform_parameters(low, high, bits)
    quotient = Fraction(x) / Fraction(parameters.scale)
    want = min(max(half_away(quotient) + parameters.zero_point, 0), 2**bits - 1)
    if quantise(x, parameters) != want:  # the float64 quotient fell on the tie itself
        assert tie_distance(quotient) <= abs(quotient) / 2**52


@MANY
@given(st.floats(-100, 0, width=32), st.floats(0, 100, width=32))
def test_scale_and_zero_point_are_the_equations(low, high):
    assume(high - low > 1e-30)
    parameters = uniform_parameters(low, high)
    exact = (Fraction(high) - Fraction(low)) / 255
    assert abs(Fraction(parameters.scale) / exact - 1) <= Fraction(1, 2**23)
    quotient = -Fraction(low) / Fraction(parameters.scale)
    if parameters.zero_point != min(max(half_away(quotient), 0), 255):
        assert tie_distance(quotient) <= abs(quotient) / 2**52


@MANY
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_weights_are_rounded_exactly(row):
    codes, scales = quantise_weights(np.array([row]), 0)
    for value, code in zip(row, codes[0].tolist(), strict=True):
        quotient = Fraction(value) / Fraction(float(scales[0]))
        if code != min(max(half_away(quotient), -127), 127):
            assert tie_distance(quotient) <= abs(quotient) / 2**52


@MANY
@given(
    *(BYTE, BYTE, SCALE, SCALE, st.floats(-7.9, 8)),
    st.tuples(BYTE, BYTE, BYTE),
    st.sampled_from([1, -1]),
)
def test_add_and_sub_are_the_exact_sum(a, b, scale_a, scale_b, ratio, zero_points, sign):
    out = float(np.float32(max(scale_a, scale_b) * 2.0**ratio))
    parameters = add_parameters((scale_a, scale_b, out), zero_points)
    got = int(add_quantised(np.array([a], np.int8), np.array([b], np.int8), parameters, sign)[0])
    real_a = Fraction(scale_a) * (a - zero_points[0])
    real_b = Fraction(scale_b) * (b - zero_points[1])
    exact = (real_a + sign * real_b) / Fraction(out) + zero_points[2]
    assert abs(got - min(max(exact, -128), 127)) <= HALF + Fraction(1, 2**9)


@MANY
@example(a=-63, b=15, scale_a=1.0, scale_b=1.0, power=-3.8602023028, zero_points=(15, 0, 0))
@given(BYTE, BYTE, SCALE, SCALE, st.floats(-31, 2), st.tuples(BYTE, BYTE, BYTE))
def test_mul_is_the_exact_product(a, b, scale_a, scale_b, power, zero_points):
    x, y = activation("x", (1, 1), scale_a, zero_points[0]), activation("y", (1, 1), scale_b)
    out = quantised(scale_a * scale_b / 2.0**power, zero_points[2])
    operation = Mul(inputs=(x, y), name="p", quantisation=out)
    given_a, given_b = np.array([[a]], np.int8), np.array([[b]], np.int8)
    got = int(operation.reference(given_a, given_b)[0, 0])
    factor = Fraction(x.scale) * Fraction(y.scale) / Fraction(out.scale[0])
    exact = factor * (a - x.zero_point) * (b - y.zero_point) + zero_points[2]
    # The kernels compute the factor in three float32 steps: it may end in the next binade.
    computed = np.float32(x.scale) * np.float32(y.scale) / np.float32(out.scale[0])
    bound = HALF + second_rounding(quantize_multiplier(float(computed))[1])
    bound += abs(exact - zero_points[2]) * 3 / 2**24
    assert abs(got - min(max(exact, -128), 127)) <= bound


@MANY
@given(
    *(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1)),
    *(SCALE, st.floats(-6, 12), BYTE, BYTE),
)
def test_mean_is_the_exact_mean(height, width, seed, scale, ratio, zero_in, zero_out):
    x = activation("x", (1, height, width, 1), scale, zero_in)
    axes = constant("axes", np.array([1, 2], np.int32))
    out = quantised(scale * 2.0**ratio, zero_out)
    values = np.random.default_rng(seed).integers(-128, 128, (1, height, width, 1)).astype(np.int8)
    operation = Mean(inputs=(x, axes), name="m", quantisation=out)
    got = int(operation.reference(values, axes.data).item())
    count = height * width
    total = int(values.astype(int).sum()) - count * zero_in
    exact = Fraction(total, count) * Fraction(x.scale) / Fraction(out.scale[0]) + zero_out
    shift = quantize_multiplier(x.scale / out.scale[0])[1] - (count.bit_length() - 1)
    # The division is folded into a multiplier of at least 30 bits, rounded down.
    bound = HALF + second_rounding(shift) + abs(exact - zero_out) / 2**28
    assert abs(got - min(max(exact, -128), 127)) <= bound


@settings(max_examples=60, deadline=None)
@given(st.floats(-87, 88, width=32))
def test_the_exponential_is_correctly_rounded(x):
    with mpmath.workprec(200):
        value = mpmath.exp(mpmath.mpf(x))
    with mpmath.workprec(24):
        want = float(+value)
    assert float(exp(np.array([x], np.float32))[0]) == want


def table_errors(function, input_scale, zero_in, output_scale, zero_out, exact):
    """Yield entry − exact value of every entry that does not saturate."""
    table = lookup_table(function, input_scale, zero_in, output_scale, zero_out)
    with mpmath.workprec(120):
        for stored, entry in zip(range(-128, 128), table.tolist(), strict=True):
            real = mpmath.mpf(input_scale) * (stored - zero_in)
            value = exact(real) / mpmath.mpf(output_scale) + zero_out
            yield float(entry - min(max(value, -128), 127))


@settings(max_examples=25, deadline=None)
@given(st.floats(2**-12, 0.3125, width=32), st.sampled_from([1 / 255, 1 / 128, 0.02]))
def test_exp_tables_round_the_exact_exponential(scale, output_scale):
    errors = table_errors(exp, scale, 127, output_scale, -128, mpmath.exp)
    assert max(map(abs, errors)) <= 0.5 + 2**-9


@settings(max_examples=25, deadline=None)
@given(st.floats(2**-12, 0.5, width=32), BYTE)
def test_logistic_tables_round_the_exact_sigmoid(scale, zero_point):
    errors = table_errors(
        logistic, scale, zero_point, 1 / 256, -128, lambda x: 1 / (1 + mpmath.exp(-x))
    )
    assert max(map(abs, errors)) <= 0.5 + 2**-13


@pytest.mark.parametrize(
    ("smallest", "count"), [(255, 4), (255, 36), (255, 3136), (255, 2**15), (2**20, 1000)]
)
def test_the_table_of_logarithms_rounds_the_exact_logarithm(smallest, count):
    table = log_table(smallest, count)
    chosen = np.unique(np.linspace(0, len(table.values) - 1, 800).astype(int))
    with mpmath.workprec(120):
        for index in chosen.tolist():
            # The middle of the sums that share the entry.
            middle = smallest + (index << table.shift) + mpmath.mpf((1 << table.shift) - 1) / 2
            value = mpmath.log(middle / smallest) / mpmath.mpf(table.scale) + LOG_ZERO_POINT
            error = int(table.values[index]) - min(value, 127)
            assert abs(error) <= 0.5 + 1e-9
