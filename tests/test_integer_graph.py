"""A whole integer network: NumPy, reference kernels, default kernels and the float twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from mini_network import build, calibrated, images

from qlvit_edge.calibration.observers import AnchorObserver
from qlvit_edge.converters.graph import Graph, Quantisation, Tensor
from qlvit_edge.converters.idioms.activations import hard_swish
from qlvit_edge.converters.idioms.arithmetic import add, matmul, mean_hw
from qlvit_edge.converters.idioms.convolutions import conv, dense, depthwise, pad
from qlvit_edge.converters.idioms.dynamic import dynamic_depthwise
from qlvit_edge.converters.idioms.image import input_image
from qlvit_edge.converters.idioms.kan import kan_layer
from qlvit_edge.converters.idioms.numerics import Float, Int8, MapMixing
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.softmax import log2_softmax, matmul_probabilities
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.activation import Logistic
from qlvit_edge.converters.ops.carrier import carrier, largest_product_sum
from qlvit_edge.converters.ops.convolution import DepthwiseConv2D
from qlvit_edge.converters.ops.shape import Pad
from qlvit_edge.converters.proof.equality import compare_tensors
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import CalibrationError, ConversionError
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.integer import log2_softmax as softmax
from qlvit_edge.integer.log2_softmax import power_scale

BATCH = images(6)


@pytest.fixture(scope="module", params=["fast", "exact"])
def mini(request):
    return calibrated(request.param, BATCH)


@pytest.mark.parametrize("arithmetic", ["xnnpack", "reference"])
def test_kernels_equal_numpy_at_every_tensor(mini, arithmetic):
    _, graph, _ = mini
    found = compare_tensors(graph, write_tflite(graph), BATCH, arithmetic)
    assert found.unequal == {}
    assert found.tensors == len(graph.operations)


def test_integers_follow_the_float_twin(mini):
    _, graph, observed = mini
    got = run_reference(graph, {"image": BATCH}, keep_all=True)
    logits = graph.outputs[0].real(got["logits"])
    spread = np.ptp(observed["logits"])
    assert np.abs(logits - observed["logits"]).max() < 0.15 * spread
    tensors = {tensor.name: tensor for tensor in graph.tensors()}
    for name in ("stem", "block0/mixed", "block0/kv", "block0/kan", "block0/out"):
        error = tensors[name].real(got[name]) - observed[name]
        relative = np.sqrt(np.mean(error**2) / np.mean(observed[name] ** 2))
        assert relative < 0.2, name


def test_every_quantised_tensor_of_the_float_twins_names_is_close_in_kind(mini):
    floating, graph, _ = mini
    shapes = {t.name: t.shape for t in floating.tensors() if t.data is None}
    common = [t for t in graph.tensors() if t.data is None and t.name in shapes]
    assert len(common) > 60
    assert all(t.shape == shapes[t.name] for t in common)


def test_only_integers_are_in_the_file(mini):
    _, graph, _ = mini
    assert {tensor.dtype for tensor in graph.tensors()} == {"uint8", "int8", "int32"}


def test_a_batch_is_its_images_one_by_one(mini):
    _, graph, _ = mini
    together = run_reference(graph, {"image": BATCH})["logits"]
    apart = [run_reference(graph, {"image": BATCH[i : i + 1]})["logits"] for i in range(3)]
    np.testing.assert_array_equal(together[:3], np.concatenate(apart))


def test_the_same_graph_gives_the_same_bytes(mini):
    floating, graph, _ = mini
    assert write_tflite(graph) == write_tflite(graph)
    assert write_tflite(build(Writer("mini", Float()))) == write_tflite(floating)


def test_buffers_are_aligned_and_equal_constants_shared(mini):
    _, graph, _ = mini
    content = write_tflite(graph)
    assert content[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(content, 0)
    seen: set[bytes] = set()
    for index in range(1, model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        start = (
            data.__array_interface__["data"][0]
            - np.frombuffer(content, np.uint8).__array_interface__["data"][0]
        )
        assert start % 16 == 0
        assert data.tobytes() not in seen
        seen.add(data.tobytes())


# -- idioms ---------------------------------------------------------------------------------


def small_writer(ranges=None, anchors=None):
    writer = Writer("small", Int8(ScaleTable(ranges or {}, anchors or {})))
    return writer, input_image(writer, 6, 6)


def test_a_missing_range_is_named():
    writer, image = small_writer()
    with pytest.raises(CalibrationError, match=r"^here: tensor has no range"):
        conv(writer, image, np.ones((2, 1, 1, 3)), name="here")


def test_a_range_that_is_not_finite_is_named():
    writer, image = small_writer({"here": (0.0, float("nan"))})
    with pytest.raises(CalibrationError, match=r"^here: "):
        conv(writer, image, np.ones((2, 1, 1, 3)), name="here")


@pytest.mark.parametrize("anchors", [{}, {"s": 9}])
def test_a_missing_or_impossible_anchor_is_named(anchors):
    writer, image = small_writer(anchors=anchors)
    with pytest.raises(CalibrationError, match=r"^s: "):
        log2_softmax(writer, image, 3, name="s")


def test_a_right_operand_with_a_zero_point_is_named():
    writer, image = small_writer({"p": (0, 1)})
    with pytest.raises(ConversionError, match="right operand image/int8 has zero point -128"):
        matmul(writer, image, image, adjoint_b=True, name="p")


def test_zero_tiny_and_huge_channels_are_quantised_safely():
    writer, image = small_writer({"y": (-1.0, 1e6)})
    weight = np.zeros((4, 1, 1, 3))
    weight[1], weight[2], weight[3] = 1e-12, 1e-12, 1.0
    bias = np.array([0.5, 0.0, 1000.0, 1e9])
    writer.output(conv(writer, image, weight, bias, name="y"))
    graph = writer.build()
    stored = next(t for t in graph.tensors() if t.name == "y/bias")
    assert stored.data is not None
    assert np.abs(stored.data.astype(np.int64)).max() <= 2**30 + 64
    assert stored.real(stored.data) == pytest.approx(bias, rel=1e-6)


@pytest.mark.parametrize("kind", [conv, depthwise])
def test_an_output_that_calibration_saw_silent_still_runs_on_the_default_kernels(kind):
    writer, image = small_writer({"y": (0.0, 1e-7)})
    weight = np.ones((3, 1, 1, 3) if kind is conv else (1, 1, 3))
    writer.output(kind(writer, image, weight, name="y"))
    graph = writer.build()
    got = Interpreter(write_tflite(graph), kernels=Kernels.AUTO).invoke(images(1)[:, :6, :6])
    expected = run_reference(graph, {"image": images(1)[:, :6, :6]})["y"]
    np.testing.assert_array_equal(got, expected)


def test_weights_that_are_not_finite_are_refused():
    writer, image = small_writer({"y": (0, 1)})
    with pytest.raises(ConversionError, match=r"^y: weights are not finite"):
        conv(writer, image, np.full((1, 1, 1, 3), np.nan), name="y")


@pytest.mark.parametrize("arithmetic", ["integer", "float"])
def test_an_uneven_kan_grid_is_refused(arithmetic):
    writer = small_writer()[0] if arithmetic == "integer" else Writer("f", Float())
    x = writer.inputs[0] if arithmetic == "integer" else input_image(writer, 6, 6)
    with pytest.raises(ConversionError, match="even grid"):
        kan_layer(writer, x, scale=1, shift=0, knots=[0, 1, 3], weight=np.ones((1, 2, 3)), name="k")


@pytest.mark.parametrize(("stride", "absorbed"), [(1, True), (2, False)])
def test_a_convolution_absorbs_padding_that_is_tflites_own(stride, absorbed):
    ranges = {"y": (-5000.0, 5000.0)}
    weight = np.random.default_rng(0).normal(size=(3, 3, 3))
    values = images(2)[:, :6, :6]
    writer, image = small_writer(ranges)
    padded = pad(writer, image, 1, 1, 1, 1, name="p")
    writer.output(depthwise(writer, padded, weight, stride=stride, name="y"))
    graph = writer.build()
    assert any(isinstance(op, Pad) for op in graph.operations) is not absorbed
    y = next(op for op in graph.operations if isinstance(op, DepthwiseConv2D))
    explicit = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(float)
    real = sum(
        explicit[:, i : i + 6 - stride + 1 : stride, j : j + 6 - stride + 1 : stride] * weight[i, j]
        for i in range(3)
        for j in range(3)
    )
    got = y.output.real(run_reference(graph, {"image": values})["y"])
    assert np.abs(got - real).max() < y.output.scale + 0.02 * np.abs(real).max()


@pytest.mark.parametrize("kernel", [4, 7])
def test_folding_columns_into_channels_changes_no_value(kernel):
    generator = np.random.default_rng(1)
    weight, bias = generator.normal(0, 0.01, (5, kernel, kernel, 3)), generator.normal(size=5)
    writer = Writer("stem", Float())
    padded = pad(writer, input_image(writer, 24, 24), 3, 3, 3, 3, name="p")
    writer.output(conv(writer, padded, weight, bias, stride=4, name="y"))
    graph = writer.build()
    folded = next(t for t in graph.tensors() if t.name == "y/weight")
    assert folded.shape[3] == 12
    values = images(1)[:, :24, :24].astype(np.float32)
    explicit = np.pad(values, ((0, 0), (3, 3), (3, 3), (0, 0)))[0]
    side = (30 - kernel) // 4 + 1
    want = [
        [np.tensordot(explicit[4 * i :, 4 * j :][:kernel, :kernel], weight, ((0, 1, 2), (1, 2, 3)))
         for j in range(side)]
        for i in range(side)
    ]  # fmt: skip
    got = Interpreter(write_tflite(graph)).invoke(values)
    assert got[0] == pytest.approx(np.array(want) + bias, abs=1e-3)


def test_a_float_kan_layer_is_its_formula():
    generator = np.random.default_rng(2)
    scale, shift = generator.uniform(0.01, 0.02, 3), generator.normal(-1, 0.3, 3)
    weight, bias = generator.normal(size=(4, 5, 3)), generator.normal(size=4)
    knots = np.linspace(-1, 1.5, 6)
    writer = Writer("kan", Float())
    image = input_image(writer, 6, 6)
    writer.output(
        kan_layer(
            writer, image, scale=scale, shift=shift, knots=knots, weight=weight, bias=bias, name="k"
        )
    )
    values = images(1)[:, 10:16, 10:16].astype(np.float32)
    u = (values * scale + shift)[0]
    ramps = np.clip((u[..., None, :] - knots[:-1, None]) / np.diff(knots)[:, None], 0, 1)
    want = np.einsum("hwgc,ogc->hwo", ramps, weight) + bias
    got = Interpreter(write_tflite(writer.build())).invoke(values)
    assert got[0] == pytest.approx(want, abs=1e-4)


def test_hard_swish_stays_within_one_step_of_the_real_function():
    writer, image = small_writer({"x": (-6.0, 6.0)})
    x = conv(writer, image, np.eye(3)[:, None, None, :] * 12 / 255, np.full(3, -6.0), name="x")
    y = hard_swish(writer, x, name="y", fixed_range=(-0.375, 6.0))
    writer.output(conv(writer, y, np.eye(3)[:, None, None, :], name="z", fixed_range=(-0.375, 6)))
    graph = writer.build()
    values = np.random.default_rng(3).integers(0, 256, (20, 6, 6, 3)).astype(np.uint8)
    got = run_reference(graph, {"image": values}, keep_all=True)
    tensors = {tensor.name: tensor for tensor in graph.tensors()}
    real = tensors["x"].real(got["x"])
    wanted = real * np.clip(real + 3, 0, 6) / 6
    sixfold = tensors["y/sixfold"]
    assert np.abs(sixfold.real(got["y/sixfold"]) / 6 - wanted).max() < sixfold.scale / 6
    # The convolution takes the sixth back: its output is hard-swish itself.
    assert np.abs(tensors["z"].real(got["z"]) - wanted).max() < 1.6 * tensors["z"].scale


def test_only_a_convolution_may_read_a_hard_swish():
    writer, image = small_writer({"x": (-6.0, 6.0)})
    y = hard_swish(writer, image, name="y", fixed_range=(-0.375, 6.0))
    with pytest.raises(ConversionError, match="multiple of what it stands for"):
        add(writer, y, image, name="z", fixed_range=(-1.0, 1.0))


def test_a_dynamic_convolution_divides_what_a_hard_swish_holds():
    kernels = np.array([1.0, 2.0]).reshape(2, 1, 1, 1) * np.ones((2, 1, 1, 3))
    ranges = {"x": (-6.0, 6.0), "z": (-1.0, 1.0), "d/mixed": (-1.0, 12.0)}
    ranges |= {f"d/kernel{k}": (-1.0, 12.0) for k in range(2)}
    writer = Writer("multiples", Int8(ScaleTable(ranges, {"pi": 0})))
    image = input_image(writer, 6, 6)
    x = conv(writer, image, np.eye(3)[:, None, None, :] * 12 / 255, np.full(3, -6.0), name="x")
    y = hard_swish(writer, x, name="y", fixed_range=(-0.375, 6.0))
    assert (y.multiple, y.quantity) == (6.0, "y")
    z = dense(writer, mean_hw(writer, x, name="z"), np.zeros((2, 3)), name="z/none",
              fixed_range=(-1.0, 1.0))  # fmt: skip
    pi = log2_softmax(writer, z, 3, name="pi")
    writer.output(dynamic_depthwise(writer, y, pi, kernels, np.zeros((2, 3)), name="d"))
    graph = writer.build()
    values = np.random.default_rng(4).integers(0, 256, (9, 6, 6, 3)).astype(np.uint8)
    got = run_reference(graph, {"image": values}, keep_all=True)
    tensors = {tensor.name: tensor for tensor in graph.tensors()}
    real = tensors["x"].real(got["x"])
    wanted = 1.5 * real * np.clip(real + 3, 0, 6) / 6  # equal shares of one and two
    assert np.abs(tensors["d/mixed"].real(got["d/mixed"]) - wanted).max() < 0.15


@dataclass(frozen=True)
class Mix:
    """A dynamic convolution of four kernels, what went in and what came of it."""

    graph: Graph
    got: dict[str, np.ndarray]
    pi: np.ndarray  # (B, 1, 1, 4), as the graph has it
    maps: np.ndarray  # (B, 3, 4, 4, channels), of each kernel and bias, in real numbers

    def tensor(self, name: str) -> Tensor:
        return next(tensor for tensor in self.graph.tensors() if tensor.name == name)

    def clipped(self, values: np.ndarray) -> np.ndarray:
        output = self.graph.outputs[0]
        return np.clip(values, output.real(np.array(-128)), output.real(np.array(127)))


def mix(form: str, channels: int, numerics: type[Int8]) -> Mix:
    generator = np.random.default_rng(channels)
    weights = generator.normal(0, 0.5, (4, 3, 3, channels))
    biases = generator.normal(0, 0.1, (4, channels))
    ranges = {f"d/kernel{k}": (-3.0 - k, 5.0) for k in range(4)}
    scales = ScaleTable({**ranges, "d/mixed": (-6.0, 5.0)}, {"pi": 0})
    writer = Writer("mix", numerics(scales, form))
    z = Tensor("z", (1, 1, 1, 4), "int8", Quantisation((0.02,), 0))
    x = Tensor("x", (1, 3, 4, channels), "int8", Quantisation((0.02,), 7))
    writer.inputs += [z, x]
    padded = pad(writer, x, 1, 1, 1, 1, name="padded")
    pi = log2_softmax(writer, z, 3, name="pi")
    writer.output(dynamic_depthwise(writer, padded, pi, weights, biases, name="d"))
    graph = writer.build()
    inputs = {
        t.name: generator.integers(-128, 128, (5, *t.shape[1:])).astype(np.int8) for t in [z, x]
    }
    got = run_reference(graph, inputs, keep_all=True)
    real = np.pad(x.real(inputs["x"]), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(real, (3, 3), (1, 2))
    maps = np.einsum("bhwcij,kijc->bhwkc", windows, weights) + biases
    stored, step = (
        (got["pi/less_one"], power_scale(0)) if "pi/less_one" in got else (got["pi"], 1 / 127)
    )
    return Mix(graph, got, stored.reshape(5, 1, 1, 4, 1) * step, maps)


@pytest.mark.parametrize("form", ["fast", "exact"])
@pytest.mark.parametrize("channels", [5, 24, 48])
def test_a_dynamic_convolution_mixes_its_kernels_then_convolves_once(form, channels):
    found = mix(form, channels, Int8)
    output = found.graph.outputs[0]
    assert [type(op).__name__ for op in found.graph.operations].count("DynamicDepthwiseConv2D") == 1
    # The kernel is rounded to steps of its channel; nine taps of an input of up to 2.7.
    step = max(found.tensor("d/kernel").quantisation.scale)
    error = found.tensor("d/mixed").real(found.got["d/mixed"]) - found.clipped(
        (found.pi * found.maps).sum(3)
    )
    assert np.abs(error).max() <= 0.51 * output.scale + 9 * 2.7 * 0.75 * step
    assert np.sqrt(np.mean(error**2)) <= 0.35 * output.scale + 3 * 1.6 * 0.4 * step


@pytest.mark.parametrize("form", ["fast", "exact"])
@pytest.mark.parametrize("channels", [5, 24, 48])
def test_a_dynamic_convolution_mixes_maps_with_one_rounding(form, channels):
    found = mix(form, channels, MapMixing)
    group = max(g for g in range(1, 9) if channels % g == 0)
    held = found.tensor("d/kernels")
    maps = held.real(found.got["d/kernels"]).reshape(5, 3, 4, -1, 4, group)
    exact = found.maps.reshape(5, 3, 4, 4, -1, group).swapaxes(3, 4)
    assert np.abs(maps - np.clip(exact, -6.0, 5.0)).max() < 3 * held.scale
    pi = found.tensor("pi").real(found.got["pi"]).reshape(5, 1, 1, 1, 4, 1)
    wanted = found.clipped((pi * maps).sum(4).reshape(5, 3, 4, channels))
    output = found.graph.outputs[0]
    # Rounded twice, by the doubling product and by the shift.
    assert np.abs(output.real(found.got["d/mixed"]) - wanted).max() <= 0.51 * output.scale


@pytest.mark.parametrize("form", ["fast", "exact"])
@pytest.mark.parametrize("count", [4, 9, 36, 144, 576, 3136])
def test_the_softmax_graph_is_its_specification(form, count):
    generator = np.random.default_rng(count)
    logits = np.clip(generator.normal(0, 40, (2, 1, 2, count)), -128, 127).astype(np.int8)
    codes = softmax.log2_codes(logits, float(np.float32(0.04)), 3, form)
    observer = AnchorObserver(3)
    observer.update(2.0 ** (np.clip(codes, 0, 15) - 15.0))
    anchor = observer.anchor()
    writer = Writer("s", Int8(ScaleTable(anchors={"s": anchor}), form))
    x = Tensor("x", (1, 1, 2, count), "int8", Quantisation((0.04,), -11))
    writer.input(x)
    probabilities = log2_softmax(writer, x, 3, name="s")
    left = Tensor("a", (1, 1, 1, count), "int8", Quantisation((1 / 256,), -128))
    writer.input(left)
    writer.output(
        matmul_probabilities(
            writer,
            left,
            probabilities,
            adjoint_p=True,
            symmetric=True,
            name="p",
            fixed_range=(0, 1.25),
        )
    )
    graph = writer.build()
    gates = np.full((2, *left.shape[1:]), 127, np.int8)
    got = run_reference(graph, {"x": logits, "a": gates}, keep_all=True)
    raised = anchor if form == "fast" else 0
    raised_codes = softmax.log2_codes(logits, float(np.float32(0.04)), 3, form, raised)
    np.testing.assert_array_equal(got["s/log"], raised_codes)
    if form == "fast":
        assert softmax.raises(count, anchor)
        expected = softmax.fast_probabilities(raised_codes, anchor, raised)
        np.testing.assert_array_equal(got["s"], expected)
        # A logarithm near a half may fall on the other side of it.
        assert np.mean(expected != softmax.fast_probabilities(codes, anchor)) < 0.05
    else:
        high, low = softmax.exact_probabilities(codes)
        np.testing.assert_array_equal(got["s/high"], high)
        np.testing.assert_array_equal(got["s/low"], low)
    total = graph.outputs[0].real(got["p"])
    assert np.all((total > 0.6) & (total < 1.3))


# -- graph and carrier ----------------------------------------------------------------------


def test_a_graph_refuses_disorder_and_equal_names():
    x = Tensor("x", (1, 4), "int8", Quantisation((0.1,), 0))
    fixed = Quantisation((1 / 256,), -128)
    first = Logistic(inputs=(x,), name="y", quantisation=fixed)
    second = Logistic(inputs=(first.output,), name="z", quantisation=fixed)
    with pytest.raises(ConversionError, match=r"^z: .* reads y before"):
        Graph("g", (x,), (second.output,), (second, first))
    with pytest.raises(ConversionError, match=r"^y: .* already in use"):
        Graph("g", (x,), (first.output,), (first, first))
    with pytest.raises(ConversionError, match=r"^z: output that nothing makes"):
        Graph("g", (x,), (second.output,), (first,))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), 1e-60])
def test_scales_must_be_positive_float32(scale):
    with pytest.raises(ConversionError, match="scale"):
        Quantisation((scale,), 0)


def test_an_input_of_another_shape_is_refused():
    writer, image = small_writer()
    writer.output(image)
    graph = writer.build()
    with pytest.raises(ConversionError, match=r"^image: input is"):
        run_reference(graph, {"image": np.zeros((1, 5, 6, 3), np.uint8)})


def test_a_float_graph_has_no_reference():
    graph = build(Writer("mini", Float()))
    with pytest.raises(ConversionError, match="float operation"):
        run_reference(graph, {"image": np.zeros((1, 32, 32, 3), np.float32)})


@pytest.mark.parametrize(("terms", "dtype"), [(500, np.float32), (50000, np.float64)])
def test_float_products_carry_integer_sums_exactly(terms, dtype):
    weight = np.full((terms, 1), 127, np.int8)
    weight[0] = -126
    exact = carrier(largest_product_sum(weight))
    assert exact is dtype
    x = np.full((1, terms), 255)
    wanted = x.astype(np.int64) @ weight.astype(np.int64)
    assert (x.astype(exact) @ weight.astype(exact)).astype(np.int64) == wanted


def test_sums_beyond_float64_are_refused():
    with pytest.raises(OverflowError):
        carrier(2**53)
