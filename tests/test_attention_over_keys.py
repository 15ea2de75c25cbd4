"""Scores with relative positions and weighted sums, in integers: meaning, and ends."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from small_run import settled_network, small_config

from qlvit_edge.converters.graph import Graph, Quantisation, Tensor
from qlvit_edge.converters.idioms.attention import (
    Positions,
    least_key,
    placed_scores,
    right_operand,
)
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleRequests, ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.ops.convolution import UNIT_QUANTISATION
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.errors import ConversionError
from qlvit_edge.model.pooling_attention import PoolingAttention

HEADS, DEPTH = 2, 6
QUERIES, KEYS = (4, 3), (2, 3)


def positions(size: float) -> Positions:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(QUERIES[0], KEYS[0], DEPTH))
    columns = generator.normal(size=(QUERIES[1], KEYS[1], DEPTH))
    return Positions(size * rows, size * columns)


def expected(q: NDArray[np.float64], k: NDArray[np.float64], of: Positions) -> dict[str, NDArray]:
    """The formula, from real maps (h, w, heads·d)."""
    q, k = (x.reshape(*x.shape[:2], HEADS, DEPTH) for x in (q, k))
    rows = np.einsum("hwnc,hkc->nhwk", q, of.rows)
    columns = np.einsum("hwnc,wkc->nhwk", q, of.columns)
    whole = np.einsum("hwnc,ijnc->nhwij", q, k) + rows[..., None] + columns[..., None, :]
    flat = whole.reshape(HEADS, QUERIES[0] * QUERIES[1], -1)
    return {"scores": flat, "scores/rel_h": rows, "scores/rel_w": columns}


@pytest.mark.parametrize("size", [0.0, 1e-3, 0.3, 3.0, 40.0])
def test_int8_scores_follow_the_formula_whatever_the_positions_weigh(size: float) -> None:
    """From tables of zeros to tables that keys of their own scale could not carry."""
    generator = np.random.default_rng(1)
    of = positions(size)
    q_scale = 3.0 / 127
    q_stored = generator.integers(-127, 128, (1, *QUERIES, HEADS * DEPTH)).astype(np.int8)
    k_real = generator.uniform(-0.4, 0.4, (*KEYS, HEADS * DEPTH))
    real = expected(q_scale * q_stored[0], k_real, of)
    ranges = {name: (float(x.min()), float(x.max())) for name, x in real.items()}
    writer = Writer("scores", Int8(ScaleTable(ranges)))
    q = writer.input(Tensor("q", q_stored.shape, "int8", Quantisation((q_scale,), 0)))
    least = least_key(writer, q, of, name="scores")
    k_scale = max(0.4, least) / 127
    k_stored = np.round(k_real / k_scale).astype(np.int8)[None]
    k = writer.input(Tensor("k", k_stored.shape, "int8", Quantisation((k_scale,), 0)))
    scores = placed_scores(writer, q, k, of, HEADS, name="scores")
    writer.output(scores)
    found = run_reference(writer.build(), {"q": q_stored, "k": k_stored})["scores"]
    steps = np.abs(scores.real(found)[0] - real["scores"]) / scores.scale
    assert found.shape == (1, HEADS, 12, 6)
    assert np.sqrt(np.mean(steps**2)) < 1.5
    assert steps.max() < 6


def test_keys_that_cannot_carry_the_positions_are_given_a_larger_scale() -> None:
    least = []
    for reach in (0.1, 1000.0):
        ends = (-reach, reach)
        scales = ScaleTable({"s/rel_h": ends, "s/rel_w": ends, "keys": (-0.5, 0.25)})
        writer = Writer("keys", Int8(scales))
        q = Tensor("q", (1, *QUERIES, 12), "int8", Quantisation((0.02,), 0))
        x = writer.input(Tensor("x", (1, *KEYS, 12), "int8", Quantisation((0.02,), 5)))
        at_least = least_key(writer, q, positions(0.0), name="s")
        weight, bias = np.full((1, 1, 12), 3.0), np.zeros(12)
        keys = right_operand(writer, x, weight, bias, name="keys", least=at_least)
        writer.output(keys)
        graph = writer.build()
        share = graph.operations[0].output
        assert share.name == "keys/share"
        assert share.quantisation == UNIT_QUANTISATION
        lowest = run_reference(graph, {"x": np.full(x.shape, -128, np.int8)}, keep_all=True)
        np.testing.assert_array_equal(lowest["keys"], lowest["keys/share"])
        least.append(127 * keys.scale)
    assert least == [pytest.approx(0.5), pytest.approx(1000 / 0.02 / 127 / 4)]


def test_in_float_the_scores_need_nothing_of_a_calibration() -> None:
    writer = Writer("scores", Float())
    q = Tensor("q", (1, *QUERIES, HEADS * DEPTH), "float32")
    assert least_key(writer, q, positions(1.0), name="scores") == 0.0


@pytest.mark.parametrize("variant", ["mvitv2", "v0", "v1", "v2"])
def test_an_edge_tpu_is_refused_by_name(variant: str) -> None:
    network = settled_network(small_config(variant=variant, input_size=(32, 32)))
    with pytest.raises(ConversionError, match=r"block0/attention: .*not lowered for an Edge TPU"):
        lower(network, Writer("tpu", EdgeTpu(ScaleRequests())))


def graph_of(variant: str) -> Graph:
    network = settled_network(small_config(variant=variant, input_size=(32, 32)))
    return lower(network, Writer("net", Int8(ScaleRequests((-1.0, 1.0)))))


def test_every_block_has_keys_and_values_that_never_hold_minus_128() -> None:
    network = settled_network(small_config(variant="mvitv2", input_size=(32, 32)))
    attentions = [m for m in network.modules() if isinstance(m, PoolingAttention)]
    clipped = [o for o in graph_of("mvitv2").operations if o.name.endswith("/share")]
    assert len(clipped) == 2 * len(attentions) == 8
    assert all(getattr(o, "activation", "") == "RELU_N1_TO_1" for o in clipped)
