"""The integer exponential against the published algorithm and against e^x."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.integer.iexp import A, N, iexp, iexp_table


def published_iexp(x: float, scale: float) -> tuple[float, float]:
    """I-BERT's `int_exp` with its float64 tensors (kssteven418/I-BERT, quant_modules)."""
    coefficients = [0.35815147, 0.96963238, 1.0]
    coefficients[1] /= coefficients[0]
    coefficients[2] /= coefficients[0]
    x0 = math.floor(-0.6931 / scale)
    x = max(x, N * x0)
    q = math.floor(x / x0)
    r = x - x0 * q
    b, c = math.floor(coefficients[1] / scale), math.floor(coefficients[2] / scale**2)
    value = (r + b) * r + c
    exp_scale = coefficients[0] * scale**2
    return max(math.floor(value * 2 ** (N - q)), 0), exp_scale / 2**N


@given(st.integers(-20000, 0), st.floats(1e-3, 0.5))
def test_iexp_is_the_published_algorithm(x, scale):
    want, _ = published_iexp(x, scale)
    got = iexp(x, scale)
    assert got == pytest.approx(want, rel=1e-12)  # the published one rounds to 53 bits


@given(st.integers(-16000, 0))
def test_iexp_approximates_the_exponential(x):
    scale = 0.0005
    real = iexp(x, scale) * A * scale**2 / 2**N
    assert real == pytest.approx(math.exp(x * scale), rel=0.01)


@settings(max_examples=60)
@given(st.floats(0.001, 2.0), st.sampled_from([1, 4, 9, 36, 144, 576, 3136, 2**15]))
def test_the_sum_over_all_tokens_fits_int32_and_wastes_no_bit(scale, tokens):
    table = iexp_table(scale, tokens).astype(np.int64)
    assert table.max() == table[255]
    assert table.max() * tokens < 2**31
    assert (table.max() + 1) * 2 * tokens > 2**31 - 1
    assert np.all(np.diff(table) >= 0)


@pytest.mark.parametrize("scale", [0.005, 0.02, 0.05, 0.1, 0.3])
def test_the_prescale_keeps_codes_within_a_fraction(scale):
    table = iexp_table(scale, 4).astype(np.float64)
    used = table[255 - int(10 / scale) if 10 / scale < 255 else 0 :]
    distance = np.arange(len(used) - 1, -1, -1) * scale
    code_error = np.log2(used / table[255]) + distance / math.log(2)
    assert np.abs(code_error).max() < 0.03


def test_a_scale_without_resolution_is_refused():
    with pytest.raises(ValueError, match="too coarse"):
        iexp_table(200.0, 4)
