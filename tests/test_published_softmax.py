"""iexp and the log2 codes against the published integer algorithms, on their whole domain.

I-BERT's exponential (Kim et al. 2021, algorithm 2) is written here once more, in integers and
from its text; the codes are eq. 6 of exact integer sums, rounded at √2.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from qlvit_edge.integer import log2_softmax as softmax
from qlvit_edge.integer.iexp import PRESCALE_BITS, iexp, iexp_table

# Dense in the exponent, with the ends of what calibration can give and coarser.
SCALES = [float(np.float32(2.0**e)) for e in np.arange(-16, 5.26, 0.25)]
TOKENS = (1, 2, 4, 9, 49, 196, 784, 3136, 12544, 2**15)
A, B, C = Fraction("0.35815147"), Fraction("0.96963238"), Fraction(1)
LN2 = Fraction("0.6931")


def published(scale: float) -> list[int]:
    """The algorithm's integers for x = -255 … 0 below the maximum, constants quantised exactly."""
    s = Fraction(scale)
    x0 = math.floor(-LN2 / s)
    b, c = math.floor(B / A / s), math.floor(C / A / s**2)
    found = []
    for x in range(-255 << PRESCALE_BITS, 1, 1 << PRESCALE_BITS):
        clamped = max(x, 30 * x0)
        q = clamped // x0
        r = clamped - q * x0
        found.append(max(r * (r + b) + c, 0) << (30 - q))
    return found


@pytest.mark.parametrize("scale", SCALES)
def test_iexp_is_the_published_integer_algorithm_for_every_input(scale):
    fine = scale / 2**PRESCALE_BITS
    assert [iexp(x << PRESCALE_BITS, fine) for x in range(-255, 1)] == published(fine)


@pytest.mark.parametrize("tokens", TOKENS)
def test_a_table_is_the_published_integers_shifted_so_that_any_sum_fits(tokens):
    for scale in SCALES:
        fine = scale / 2**PRESCALE_BITS
        integers = [iexp(x << PRESCALE_BITS, fine) for x in range(-255, 1)]
        table = iexp_table(scale, tokens).tolist()
        shift = (max(integers) // max(table)).bit_length() - 1
        assert table == [value >> shift for value in integers]
        assert max(table) * tokens < 2**31
        assert all(entry >= 0 for entry in table)


@pytest.mark.parametrize(("coarsest", "bound"), [(2**-5, 0.008), (0.2, 0.036), (0.5, 0.08)])
def test_iexp_stays_within_a_fraction_of_a_code_of_the_exponential(coarsest, bound):
    largest = 0.0
    for scale in (s for s in SCALES if 2**-8 <= s <= coarsest):
        table = iexp_table(scale, 4).tolist()
        # Down to code 0: 15 halvings.
        for below in range(min(255, int(15 * math.log(2) / scale)) + 1):
            code = math.log2(table[255 - below] / table[255])
            largest = max(largest, abs(code + below * scale / math.log(2)))
    assert largest < bound


def literal_codes(column: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Eq. 6 of integers: 15 − round(log2(Σ e / e_k)), rounded at √2, without any logarithm."""
    below = column.astype(int) - int(column.max())
    terms = [int(value) for value in table]
    total = sum(terms[d + 255] for d in below.tolist())
    codes = {}
    for d in set(below.tolist()):
        term, level = terms[d + 255], 0
        # level is the smallest j with total / term < √2 · 2^j, that is total² < term² · 2^(2j+1).
        while level < 15 and total * total >= (term * term) << (2 * level + 1):
            level += 1
        codes[d] = 15 - level
    return np.array([codes[d] for d in below.tolist()])


def column_of(tokens: int, spread: float, seed: int) -> np.ndarray:
    """All 256 bytes where they fit, noise around a middle otherwise."""
    generator = np.random.default_rng(seed)
    values = np.clip(np.round(generator.normal(0, spread, tokens)), -128, 127).astype(np.int8)
    every = np.arange(-128, 128).astype(np.int8)
    if tokens > 512:
        values[:256] = every
    return values


@pytest.mark.parametrize("form", ["fast", "exact"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_codes_are_equation_6_up_to_one_step_near_a_threshold(tokens, form):
    wrong = count = 0
    for index, scale in enumerate(s for s in SCALES if 2**-8 <= s <= 1):
        x = column_of(tokens, 40.0, index)
        codes = softmax.log2_codes(x[:, None], scale, 0, form)[:, 0].astype(int)
        wanted = literal_codes(x, iexp_table(scale, tokens))
        got = np.clip(codes, 0, 15)
        assert np.abs(got - wanted).max() <= 1
        wrong += int((got != wanted).sum())
        count += tokens
    assert wrong / count <= 0.02


@pytest.mark.parametrize("form", ["fast", "exact"])
@pytest.mark.parametrize("tokens", [2, 3136, 2**15])
@pytest.mark.parametrize("scale", [2**-16, 2**-12, 4.0, 32.0])
def test_the_ends_of_the_domain_keep_their_meaning(form, tokens, scale):
    scale = float(np.float32(scale))
    for x in (np.full(tokens, -128, np.int8), np.full(tokens, 127, np.int8)):
        codes = np.clip(softmax.log2_codes(x[:, None], scale, 0, form), 0, 15)
        level = math.floor(math.log2(tokens) + 0.5)
        assert np.abs(codes - max(15 - level, 0)).max() <= 1
    lonely = np.full(tokens, -128, np.int8)
    lonely[tokens // 2] = 127
    codes = np.clip(softmax.log2_codes(lonely[:, None], scale, 0, form)[:, 0], 0, 15).astype(int)
    wanted = softmax.training_codes(lonely * scale, 0)
    assert np.abs(codes - wanted).max() <= 1
