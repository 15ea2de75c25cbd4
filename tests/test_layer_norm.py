"""LayerNorm in integers: its tables exactly, its values against float, its graph against both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mini_network import run_all_tensors

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.layer_norm import standardise
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import CalibrationError
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.integer import layer_norm
from qlvit_edge.integer.uniform import uniform_parameters

EPSILON = 1e-5


def middles() -> np.ndarray:
    """Twice the V' that each index stands for: halves are exact in integers."""
    index = np.arange(32704)
    beyond = ((index - 16320) << 9) + 255
    return np.where(index < 2**14, 2 * index, beyond)


def test_companding_visits_every_entry_in_order():
    index = layer_norm.compand(np.arange(2**22))
    assert index[0] == 0
    assert set(np.diff(index).tolist()) == {0, 1}
    assert index[-1] == len(layer_norm.root_tables()[0]) - 1


def test_both_digits_are_the_exactly_rounded_root_of_every_entry():
    high, low = (table.astype(np.int64) + 128 for table in layer_norm.root_tables())
    digits = 255 * high + low
    twice = middles()
    assert np.all(digits[twice <= 128] == 255**2)
    digits, twice = digits[twice > 128], twice[twice > 128]
    # digits = round(255² · 8 / √V'): (digits ∓ ½)² V' lies around (255² · 8)², all in integers.
    target = 2 * (2 * 255**2 * 8) ** 2
    assert np.all((2 * digits - 1) ** 2 * twice <= target)
    assert np.all((2 * digits + 1) ** 2 * twice > target)


@pytest.mark.parametrize("steps", [0, 1])
def test_no_root_is_off_by_more_than_six_thousandths(steps):
    half = 1 << 2 * steps >> 1
    squares = np.arange(64 << 2 * steps, min((2**22 << 2 * steps) - half, 2**23))
    index = layer_norm.compand((squares + half) >> 2 * steps)
    high, low = (table.astype(np.int64) + 128 for table in layer_norm.root_tables())
    root = (high[index] / 255 + low[index] / 255**2) / 2**steps
    assert np.abs(root * np.sqrt(squares) / 8 - 1).max() < 0.006


def ranges(x: np.ndarray) -> dict[str, tuple[float, float]]:
    """What calibration would see of the float twin's tensors for real (N, C) values."""
    mean = x.mean(1)
    deviation = x - mean[:, None]
    root = 1 / np.sqrt(x.var(1) + EPSILON)
    standard = deviation * root[:, None]
    return {
        name: (float(values.min()), float(values.max()))
        for name, values in (
            ("y/mean", mean),
            ("y/deviation", deviation),
            ("y/root", root),
            ("y", standard),
        )
    }


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 8, 24, 96, 768]),
    st.floats(0.001, 0.3),
    st.integers(-128, 127),
    st.floats(0.2, 40.0),
    st.floats(1.0, 30.0),
)
def test_values_stay_near_float(seed, channels, scale, zero_point, spread, unlike):
    """Positions differ in variance up to 900-fold, channels in mean."""
    generator = np.random.default_rng(seed)
    scale = float(np.float32(scale))
    spreads = spread * unlike ** generator.uniform(-1, 0, (40, 1))
    stored = generator.normal(generator.uniform(-60, 60, (1, channels)), spreads, (40, channels))
    x = np.clip(np.round(stored), -128, 127).astype(np.int8)
    real = scale * (x - float(zero_point))
    seen = ranges(real)
    mean, output = (uniform_parameters(*seen[name]) for name in ("y/mean", "y"))
    peak = max(map(abs, seen["y/deviation"]))
    step = uniform_parameters(0.0, peak * 255 / 127).scale
    constants = layer_norm.roots(channels, step, EPSILON, seen["y/root"][1])
    got = layer_norm.standardise(
        x,
        (scale, zero_point),
        (mean.scale, mean.int8_zero_point),
        step,
        constants,
        (output.scale, output.int8_zero_point),
    )
    root = 1 / np.sqrt(real.var(1, keepdims=True) + EPSILON)
    exact = (real - real.mean(1, keepdims=True)) * root
    # Mean and deviation are rounded; a deviation moves σ by no more than itself.
    moved = 0.52 * (mean.scale + step) * root
    capped = root > 255 * constants.high_scale
    fine = (moved < 0.2) & ~capped
    error = np.abs(output.scale * (got - float(output.int8_zero_point)) - exact)
    bound = (1 + np.abs(exact)) * moved * 1.25 + 0.007 * np.abs(exact) + 2.1 * output.scale
    assert np.all((error <= bound)[np.broadcast_to(fine, error.shape)])


def test_equal_channels_at_zero_become_zero():
    x = np.full((3, 24), 7, np.int8)
    constants = layer_norm.roots(24, 0.02, EPSILON, 300.0)
    got = layer_norm.standardise(x, (0.05, 7), (0.03, -5), 0.02, constants, (0.03, 11))
    assert np.all(got == 11)


@pytest.mark.parametrize(("channels", "largest"), [(0, 1.0), (2**14 + 1, 1.0), (8, 0.0)])
def test_norms_outside_the_proved_bounds_are_refused(channels, largest):
    with pytest.raises(ValueError, match=r"channels|root"):
        layer_norm.roots(channels, 0.1, EPSILON, largest)


@pytest.mark.parametrize("channels", [1, 24, 768, 2**14])
@pytest.mark.parametrize("scale", [1e-6, 0.01, 3.0])
@pytest.mark.parametrize("largest", [1e-9, 1.0, 316.0])
def test_no_sum_leaves_int32_or_the_table(channels, scale, largest):
    constants = layer_norm.roots(channels, scale, EPSILON, largest)
    most = channels * 128**2 + constants.raised
    assert most < 2**31
    assert most >> constants.shift < 2**22


@pytest.mark.parametrize("shape", [(1, 5, 7, 24), (1, 1, 1, 96), (1, 4, 6, 3)])
def test_the_graph_is_the_specification_on_numpy_and_on_the_reference_kernels(shape):
    generator = np.random.default_rng(shape[-1])
    values = np.clip(generator.normal(10, 25, (4, *shape[1:])), -128, 127).astype(np.int8)
    source = Quantisation((0.04,), -9)
    x = Tensor("x", shape, "int8", source)
    seen = ranges(x.real(values).reshape(-1, shape[-1]))
    writer = Writer("norm", Int8(ScaleTable(seen)))
    writer.input(x)
    writer.output(standardise(writer, x, EPSILON, name="y"))
    graph = writer.build()
    tensors = {tensor.name: tensor for tensor in graph.tensors()}
    deviation = tensors["y/deviation"]
    wanted = layer_norm.standardise(
        values,
        (x.scale, x.zero_point),
        (tensors["y/mean"].scale, tensors["y/mean"].zero_point),
        deviation.scale,
        layer_norm.roots(shape[-1], deviation.scale, EPSILON, seen["y/root"][1]),
        (tensors["y"].scale, tensors["y"].zero_point),
    )
    expected = run_reference(graph, {"x": values}, keep_all=True)
    np.testing.assert_array_equal(expected["y"], wanted)
    for name, got in run_all_tensors(graph, values).items():
        np.testing.assert_array_equal(got, expected[name], err_msg=name)
    default = Interpreter(write_tflite(graph), kernels=Kernels.AUTO)
    close = np.concatenate([default.invoke(image[None]) for image in values])
    assert np.abs(close.astype(int) - wanted).max() <= 4


def test_the_float_twin_is_torchs_layer_norm():
    import torch

    values = np.random.default_rng(0).normal(3, 2, (1, 4, 5, 24)).astype(np.float32)
    writer = Writer("norm", Float())
    x = writer.input(Tensor("x", (1, 4, 5, 24), "float32"))
    writer.output(standardise(writer, x, EPSILON, name="y"))
    got = Interpreter(write_tflite(writer.build())).invoke(values)
    wanted = torch.nn.functional.layer_norm(torch.from_numpy(values), (24,), eps=EPSILON)
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("missing", ["y/mean", "y/deviation", "y/root", "y"])
def test_a_missing_range_is_named(missing):
    seen = ranges(np.random.default_rng(0).normal(size=(9, 8)))
    del seen[missing]
    writer = Writer("norm", Int8(ScaleTable(seen)))
    x = Tensor("x", (1, 2, 2, 8), "int8", Quantisation((0.04,), -9))
    with pytest.raises(CalibrationError, match=f"^{missing}: tensor has no range"):
        standardise(writer, x, EPSILON, name="y")
