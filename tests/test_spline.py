"""The table of B-splines and SiLU: exact where it is rounded, and the graph that reads it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mini_network import run_all_tensors
from scipy.interpolate import BSpline

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.splines import cubic_kan_layer
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.integer.spline import bases, spline_table


def exact_layer(u: np.ndarray, intervals: int, reach: float, weight, base, bias) -> np.ndarray:
    """The KAN layer at grid positions u (…, C), with SciPy's B-splines."""
    knots = np.arange(-3, intervals + 4, dtype=float)
    spline = BSpline(knots, np.eye(intervals + 3), 3)
    values = spline(np.clip(u, 0, intervals - 1e-9))
    real = 2 * reach * np.clip(u, 0, intervals) / intervals - reach
    silu = real / (1 + np.exp(-real))
    return np.einsum("...cg,ogc->...o", values, weight) + silu @ base.T + bias


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_bases_are_scipys_and_share_one(intervals, seed):
    position = np.random.default_rng(seed).uniform(0, intervals - 1e-9, 50)
    knots = np.arange(-3, intervals + 4, dtype=float)
    wanted = BSpline(knots, np.eye(intervals + 3), 3)(position)
    np.testing.assert_allclose(bases(position, intervals), wanted, atol=1e-12)
    np.testing.assert_allclose(bases(position, intervals).sum(1), 1.0, atol=1e-12)


@settings(max_examples=60)
@given(st.integers(1, 12), st.floats(0.3, 8.0), st.floats(0.004, 0.2), st.integers(-128, 127))
def test_every_entry_is_within_half_a_step(intervals, reach, scale, zero_point):
    table = spline_table(scale, zero_point, intervals, reach)
    assert table.values.shape == (256, intervals + 4)
    stored = table.scale * (table.values.astype(float) - table.zero_point) * table.spans
    position = np.clip(scale * (np.arange(-128, 128) - zero_point), 0, intervals)
    half = 0.5 * table.scale * table.spans + 1e-12
    assert np.all(np.abs(stored[:, :-1] - bases(position, intervals)) <= half[:-1])
    u = 2 * reach * position / intervals - reach
    silu = u / (1 + np.exp(-u))
    assert np.all(np.abs(stored[:, -1] + table.silu_lowest - silu) <= half[-1])


@pytest.mark.parametrize(("intervals", "reach"), [(5, 3.0), (6, 3.0), (8, 2.0)])
def test_the_layer_is_its_formula_in_float_and_near_it_in_integers(intervals, reach):
    generator = np.random.default_rng(intervals)
    weight, base = generator.normal(size=(4, intervals + 3, 6)), generator.normal(size=(4, 6))
    bias = generator.normal(size=4)
    scale, shift = generator.uniform(1.0, 1.5, 6), generator.normal(intervals / 2, 1, 6)
    real = generator.normal(0, 2, (3, 5, 7, 6)).astype(np.float32)
    wanted = exact_layer(scale * real + shift, intervals, reach, weight, base, bias)
    constants = {
        "scale": scale,
        "shift": shift,
        "intervals": intervals,
        "reach": reach,
        "weight": weight,
        "base": base,
        "bias": bias,
        "name": "k",
    }

    floating = Writer("kan", Float())
    x = floating.input(Tensor("x", (1, 5, 7, 6), "float32"))
    floating.output(cubic_kan_layer(floating, x, **constants))
    run = Interpreter(write_tflite(floating.build()))
    got = np.concatenate([run.invoke(image[None]) for image in real])
    np.testing.assert_allclose(got, wanted, atol=2e-5 * np.abs(wanted).max() + 1e-4)

    writer = Writer("kan", Int8(ScaleTable({"k": (wanted.min(), wanted.max())})))
    x = Tensor("x", (1, 5, 7, 6), "int8", Quantisation((8 / 127,), 0))
    writer.input(x)
    writer.output(cubic_kan_layer(writer, x, **constants))
    graph = writer.build()
    stored = np.clip(np.round(real / x.scale), -128, 127).astype(np.int8)
    values = run_reference(graph, {"x": stored}, keep_all=True)
    for name, kernel in run_all_tensors(graph, stored).items():
        np.testing.assert_array_equal(kernel, values[name], err_msg=name)
    exact = exact_layer(scale * x.real(stored) + shift, intervals, reach, weight, base, bias)
    error = graph.outputs[0].real(values["k"]) - exact
    assert np.sqrt(np.mean(error**2) / np.mean(exact**2)) < 0.03
