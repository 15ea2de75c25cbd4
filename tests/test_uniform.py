"""The uniform quantiser of eq. 14-18 and the symmetric one for weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlvit_edge.integer.uniform import (
    dequantise,
    quantise,
    quantise_weights,
    round_half_away,
    uniform_parameters,
)

REAL = st.floats(-1e4, 1e4, width=32)


@given(REAL, REAL, st.sampled_from([2, 4, 8]))
def test_real_zero_is_one_of_the_codes(a, b, bits):
    parameters = uniform_parameters(min(a, b), max(a, b), bits)
    assert dequantise(quantise(0.0, parameters), parameters) == 0.0
    assert 0 <= parameters.zero_point < 2**bits


@given(REAL, REAL, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_values_inside_the_range_lose_at_most_one_step(a, b, positions):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    x = low + np.array(positions) * (high - low)
    parameters = uniform_parameters(low, high)
    error = np.abs(dequantise(quantise(x, parameters), parameters) - x)
    if high - low > 1e-30:
        assert error.max() <= parameters.scale * 1.001


def test_a_range_away_from_zero_is_widened_to_it():
    parameters = uniform_parameters(3.0, 4.0)
    assert parameters.zero_point == 0
    assert parameters.scale == pytest.approx(4 / 255)
    assert dequantise(quantise(3.5, parameters), parameters) == pytest.approx(3.5, abs=0.01)


def test_an_all_zero_tensor_has_scale_one():
    assert uniform_parameters(0.0, 0.0).scale == 1.0


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_impossible_ranges_are_refused(bounds):
    with pytest.raises(ValueError, match="finite interval"):
        uniform_parameters(*bounds)


def test_ties_round_away_from_zero():
    assert round_half_away([0.5, 1.5, 2.5, -0.5, -2.5]).tolist() == [1, 2, 3, -1, -3]
    assert round_half_away(0.49999999999999994) == 0  # x + 0.5 would be 1


def test_int8_zero_point_is_128_below():
    assert uniform_parameters(0.0, 1.0).int8_zero_point == -128


def test_weights_have_one_scale_per_output_channel():
    codes, scales = quantise_weights([[1.0, -2.0], [0.0, 0.0], [0.5, 0.1]], axis=0)
    assert codes.tolist() == [[64, -127], [0, 0], [127, 25]]
    assert scales == pytest.approx([2 / 127, 1.0, 0.5 / 127])


@given(st.lists(REAL, min_size=4, max_size=4), st.floats(0, 10))
def test_weight_scales_respect_their_floor_and_codes_stay_symmetric(values, floor):
    codes, scales = quantise_weights(np.array(values).reshape(2, 2), 1, floor)
    assert codes.min() >= -127
    assert np.all(scales >= np.float32(floor))
