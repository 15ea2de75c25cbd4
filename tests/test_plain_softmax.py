"""The softmax that is not rounded to powers of two: its operations, its distance, its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from one_operation import run_kernels

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.plain_softmax import plain_softmax
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.integer.plain_softmax import (
    LOG_SCALE,
    SHARE_SCALE,
    SHARE_ZERO_POINT,
    anchor_of,
    plain_probabilities,
)
from qlvit_edge.integer.tables import LEAST_MARGIN, elu_margin

FORMS: tuple[Form, ...] = ("fast", "exact")


def logits(count: int, spread: float) -> np.ndarray:
    values = np.random.default_rng(count).normal(0, spread, (2, 1, 5, count))
    return np.clip(np.round(values), -128, 127).astype(np.int8)


def exact(x: np.ndarray, scale: float) -> np.ndarray:
    powers = np.exp(scale * (x - x.max(-1, keepdims=True).astype(np.float64)))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("count", "scale", "spread"), [(4, 0.1, 15), (36, 0.05, 25), (784, 0.02, 30)]
)
def test_probabilities_follow_the_softmax(
    form: Form, count: int, scale: float, spread: float
) -> None:
    scale = float(np.float32(scale))
    x = logits(count, spread)
    wanted = exact(x, scale)
    anchor = anchor_of(wanted.max(), count)
    step = SHARE_SCALE * 2.0**-anchor
    stored = plain_probabilities(x, scale, 3, form, anchor).astype(int)
    found = step * (stored - SHARE_ZERO_POINT)
    assert np.abs(found - wanted).max() < 0.03 * wanted.max() + step
    assert np.abs(found.sum(-1) - 1).max() < 0.05 + count * step / 20


@pytest.mark.parametrize("form", FORMS)
def test_the_operations_are_the_specification_on_both_kernels(form: Form) -> None:
    scale, x = float(np.float32(0.05)), logits(36, 25.0)
    largest = float(exact(x, scale).max())
    writer = Writer("softmax", Int8(ScaleTable({"p": (0.0, largest)}), form))
    given = writer.input(Tensor("x", (1, *x.shape[1:]), "int8", Quantisation((scale,), 7)))
    (p,) = plain_softmax(writer, given, 3, name="p").parts
    writer.output(p)
    anchor = anchor_of(largest, 36)
    assert p.scale == pytest.approx(2.0**-anchor / 255)
    model = write_tflite(writer.build())
    specified = plain_probabilities(x, scale, 3, form, anchor)
    for kernels in ("AUTO", "BUILTIN_REF"):
        np.testing.assert_array_equal(run_kernels(model, {"x": x}, kernels), specified)


def test_a_probability_above_the_anchor_saturates_and_none_wraps() -> None:
    x = np.full((1, 16), -128, np.int8)
    x[0, 3] = 127
    stored = plain_probabilities(x, 0.1, 1, "fast", 2)
    assert stored[0, 3] == 127  # 1/4
    assert (np.delete(stored[0], 3) == -128).all()


@pytest.mark.parametrize(
    ("largest", "count", "anchor"),
    [
        (1.0, 36, 0),
        (0.51, 36, 0),
        (0.5, 36, 1),
        (0.1, 36, 3),
        (1e-9, 36, 5),
        (0.0, 1, 0),
        (2.0, 4, 0),
    ],
)
def test_the_anchor_is_the_power_of_two_that_nothing_was_above(
    largest: float, count: int, anchor: int
) -> None:
    assert anchor_of(largest, count) == anchor
    assert 2.0**-anchor >= min(largest, 1.0)


def test_what_cannot_be_held_would_round_to_nothing() -> None:
    assert math.exp(-254 * LOG_SCALE) < 0.5 / 255
    assert elu_margin(LOG_SCALE, 127, SHARE_SCALE) >= LEAST_MARGIN
