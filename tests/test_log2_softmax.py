"""Both forms of the log2 softmax: tables, levels, bounds, and distance from eq. 6."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlvit_edge.integer import log2_softmax as softmax

ALL_BYTES = np.arange(-128, 128, dtype=np.int16).astype(np.int8)
COUNTS = (4, 9, 36, 144, 576, 3136)


def logits(count: int, spread: float, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, spread, (2, count, 5))
    return np.clip(np.round(values), -128, 127).astype(np.int8)


@pytest.mark.parametrize("anchor", range(9))
def test_a_power_table_holds_eight_levels_from_its_anchor(anchor):
    table = softmax.power_table(anchor)
    by_level = [int(table[15 - level + 128]) for level in range(17)]
    assert by_level == [127] * (anchor + 1) + [64, 32, 16, 8, 4, 2, 1] + [0] * (9 - anchor)


@pytest.mark.parametrize("anchor", range(8))
def test_below_anchor_8_the_lower_clip_of_the_code_changes_nothing(anchor):
    codes = ALL_BYTES[ALL_BYTES <= 15]
    free = softmax.fast_probabilities(codes, anchor)
    assert np.array_equal(free, softmax.fast_probabilities(np.maximum(codes, 0), anchor))


def test_anchor_8_keeps_level_15_for_everything_below():
    codes = np.array([-128, -1, 0, 1], np.int8)
    assert softmax.fast_probabilities(codes, 8).tolist() == [1, 1, 1, 2]


def test_exact_probabilities_are_all_sixteen_levels():
    codes = np.arange(15, -1, -1).astype(np.int8)
    high, low = softmax.exact_probabilities(codes)
    real = high * softmax.power_scale(0) + low * softmax.power_scale(8)
    assert real == pytest.approx(2.0 ** -np.arange(16.0), rel=0.0045)
    assert not np.any((high != 0) & (low != 0))


@pytest.mark.parametrize("form", ["fast", "exact"])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("scale", "spread"), [(0.02, 30.0), (0.05, 25.0), (0.1, 15.0)])
def test_codes_follow_equation_6(form, count, scale, spread):
    scale = float(np.float32(scale))
    x = logits(count, spread)
    codes = np.clip(softmax.log2_codes(x, scale, 1, form), 0, 15).astype(int)
    wanted = softmax.training_codes(x * scale, 1)
    assert np.abs(codes - wanted).max() <= 1
    assert np.mean(codes != wanted) < 0.08


@given(st.integers(2, 4000), st.sampled_from([255, 2**16, 2**27]))
def test_every_possible_sum_has_an_entry_in_the_log_table(count, smallest):
    smallest = min(smallest, (2**31 - 1) // count)
    table = softmax.log_table(smallest, count)
    assert len(table.values) <= 2**16 + 1
    last = (count * smallest - smallest) >> table.shift
    assert last == len(table.values) - 1
    assert np.all(np.diff(table.values.astype(int)) >= 0)
    ends = table.values[[0, -1]].astype(int) + 128
    assert ends[0] <= 2
    assert abs(ends[1] - 255) <= 1


def test_axes_whose_logarithm_would_not_fit_are_refused():
    with pytest.raises(ValueError, match="at most"):
        softmax.log_table(255, 2**15 + 1)


def test_the_fast_sum_of_the_longest_axis_fits_int32():
    assert softmax.LARGEST_AXIS * softmax.EXP_ONE < 2**31


@pytest.mark.parametrize("form", ["fast", "exact"])
def test_one_dominant_value_takes_everything(form):
    x = np.full((1, 100, 1), -128, np.int8)
    x[0, 7] = 127
    codes = softmax.log2_codes(x, float(np.float32(0.5)), 1, form)
    assert codes[0, 7, 0] == 15
    assert np.delete(codes, 7, axis=1).max() <= 0


@pytest.mark.parametrize("form", ["fast", "exact"])
def test_equal_values_share_evenly(form):
    x = np.full((1, 64, 1), 5, np.int8)
    assert np.all(softmax.log2_codes(x, float(np.float32(0.1)), 1, form) == 15 - 6)


def test_training_codes_round_at_the_square_root_of_two():
    def codes(ratio: float) -> list[int]:
        return softmax.training_codes(np.log([1.0, ratio - 1.0]), 0).tolist()

    assert codes(np.sqrt(2) * 2 - 1e-9)[0] == 14
    assert codes(np.sqrt(2) * 2 + 1e-9)[0] == 13
    assert softmax.training_codes(np.array([0.0, -1000.0]), 0).tolist() == [15, 0]
