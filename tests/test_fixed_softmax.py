"""The fixed-point softmax against the real one, at its ends, and against kernels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.ops.softmax import Softmax
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.fixed_softmax import SMALLEST_SCALE, exponentials, fixed_softmax


@given(
    values=st.lists(st.integers(-128, 127), min_size=1, max_size=12),
    scale=st.floats(1e-3, 1.0),
)
@settings(max_examples=300, deadline=None)
def test_it_is_the_softmax_within_one_step(values: list[int], scale: float) -> None:
    x = np.array(values, np.int8)
    real = np.exp(scale * (x.astype(np.float64) - x.max()))
    expected = np.minimum(256 * real / real.sum() - 128, 127)
    assert np.abs(fixed_softmax(x, scale) - expected).max() <= 1


@pytest.mark.parametrize("scale", [1e-4, 0.003, 0.05, 0.31, 2.0])
def test_exponentials_are_exact_to_a_millionth(scale: float) -> None:
    real = np.exp(-scale * np.arange(256))
    kept = exponentials(scale) / 2.0**31
    assert np.abs(np.where(kept == 0, 0, kept - real)).max() < 1e-6
    assert real[kept == 0].max(initial=0) < 1e-6


def test_equal_values_share_equally() -> None:
    for count in (1, 2, 4, 8):
        shares = fixed_softmax(np.full(count, 17, np.int8), 0.1)
        assert set(shares.tolist()) == {min(int(Fraction(256, count)) - 128, 127)}


def test_the_order_of_values_stays() -> None:
    x = np.sort(np.random.default_rng(0).integers(-128, 128, (50, 6)).astype(np.int8), axis=1)
    assert (np.diff(fixed_softmax(x, 0.04).astype(int), axis=1) >= 0).all()


def test_other_output_scales_and_tiny_steps_are_refused() -> None:
    x = Tensor("x", (1, 4), "int8", Quantisation((0.1,), 0))
    with pytest.raises(ConversionError, match="1/256"):
        Softmax(inputs=(x,), name="y", quantisation=Quantisation((1 / 255,), -128))
    tiny = Tensor("x", (1, 4), "int8", Quantisation((SMALLEST_SCALE / 2,), 0))
    with pytest.raises(ConversionError, match="larger"):
        Softmax(inputs=(tiny,), name="y", quantisation=Quantisation((1 / 256,), -128))
