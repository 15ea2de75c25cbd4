"""Every operation's NumPy meaning against TFLite's kernels, bit for bit on BUILTIN_REF.

On the default kernels (XNNPACK) the bound of each operation is recorded in `BOUND`: how many
LSB a value may differ, 0 where both are equal everywhere.
"""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.converters.graph import Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.activation import Exp, HardSwish, Logistic
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Mul, RightShift, Sub
from qlvit_edge.converters.ops.lookup import (
    Bitcast,
    BitwiseXor,
    CastToInt32,
    Gather,
    Quantize,
)
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.reduction import Mean, ReduceMax, Sum
from qlvit_edge.converters.ops.shape import Pad, PadV2, Reshape, Slice, Transpose
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError

BOUND = {"Conv2D": 1, "DepthwiseConv2D": 1, "Mul": 1, "BatchMatMul": 1, "Mean": 1}

SCALE = st.floats(0.004, 0.2)
ZERO_POINT = st.integers(-128, 127)
SEED = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25)


def quantised(scale: float, zero_point: int) -> Quantisation:
    return Quantisation((scale,), zero_point)


def constant(name: str, values, quantisation: Quantisation | None = None) -> Tensor:
    data = np.asarray(values)
    return Tensor(name, data.shape, str(data.dtype), quantisation, data)


def activation(name: str, shape, scale: float = 0.05, zero_point: int = 3) -> Tensor:
    return Tensor(name, tuple(shape), "int8", quantised(scale, zero_point))


def random_bytes(seed: int, tensor: Tensor, batch: int = 2) -> np.ndarray:
    """Bytes of all magnitudes, with runs at both ends of the range."""
    generator = np.random.default_rng(seed)
    spread = generator.choice([3.0, 40.0, 200.0])
    values = generator.normal(generator.integers(-100, 100), spread, (batch, *tensor.shape[1:]))
    return np.clip(np.round(values), -128, 127).astype(np.int8)


def run_kernels(content: bytes, inputs: dict[str, np.ndarray], kernels: str) -> np.ndarray:
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType[kernels], num_threads=1
    )
    interpreter.allocate_tensors()
    outputs = []
    for image in range(len(next(iter(inputs.values())))):
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], inputs[detail["name"]][image : image + 1])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(outputs)


def assert_kernels_agree(operation: Operation, inputs: dict[str, np.ndarray]) -> np.ndarray:
    activations = {t.name: t for t in operation.inputs if t.data is None}
    graph = Graph("one", tuple(activations.values()), (operation.output,), (operation,))
    content = write_tflite(graph)
    expected = run_reference(graph, inputs)[operation.name]
    reference = run_kernels(content, inputs, "BUILTIN_REF")
    assert reference.dtype == expected.dtype
    np.testing.assert_array_equal(reference, expected)
    default = run_kernels(content, inputs, "AUTO")
    bound = BOUND.get(type(operation).__name__, 0)
    assert np.abs(default.astype(int) - expected).max() <= bound
    return expected


def convolution_constants(seed, weight_shape, channel_axis, input_scale):
    generator = np.random.default_rng(seed)
    channels = weight_shape[channel_axis]
    scales = generator.uniform(0.001, 0.02, channels).astype(np.float32)
    weights = generator.integers(-127, 128, weight_shape).astype(np.int8)
    bias = generator.integers(-3000, 3000, channels).astype(np.int32)
    per_channel = tuple(scales.tolist())
    bias_scales = tuple((scales * np.float32(input_scale)).tolist())
    return (
        constant("w", weights, Quantisation(per_channel, 0, channel_axis)),
        constant("b", bias, Quantisation(bias_scales, 0, 0)),
    )


@FEW
@given(
    SEED,
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 3),
    st.sampled_from(["SAME", "VALID"]),
    st.sampled_from(["NONE", "RELU"]),
    SCALE,
    ZERO_POINT,
    ZERO_POINT,
)
def test_conv_2d(seed, kernel, stride, padding, fused, scale, zero_in, zero_out):
    rows, columns, width_in, width_out = kernel
    x = activation("x", (1, 7, 9, width_in), scale, zero_in)
    operation = Conv2D(
        inputs=(x, *convolution_constants(seed, (width_out, rows, columns, width_in), 0, x.scale)),
        name="y",
        quantisation=quantised(scale * 3, zero_out),
        stride=(stride, stride),
        padding=padding,
        activation=fused,
    )
    assert_kernels_agree(operation, {"x": random_bytes(seed, x)})


@FEW
@given(SEED, st.integers(2, 4), st.sampled_from([1, 3, 8]), st.sampled_from([1, 4, 32]))
def test_conv_2d_with_groups_of_channels(seed, groups, read, outputs):
    x = activation("x", (1, 5, 6, groups * read))
    operation = Conv2D(
        inputs=(x, *convolution_constants(seed, (groups * outputs, 3, 3, read), 0, x.scale)),
        name="y",
        quantisation=quantised(0.2, -5),
        padding="SAME",
    )
    assert_kernels_agree(operation, {"x": random_bytes(seed, x)})


@FEW
@given(SEED, st.integers(1, 6), st.integers(1, 4), st.integers(1, 5))
def test_conv_2d_with_rows_far_apart(seed, dilation, rows, channels):
    x = activation("x", (1, 4 + (rows - 1) * dilation, 5, channels))
    operation = Conv2D(
        inputs=(x, *convolution_constants(seed, (3, rows, 1, channels), 0, x.scale)),
        name="y",
        quantisation=quantised(0.1, -5),
        dilation=dilation,
    )
    expected = assert_kernels_agree(operation, {"x": random_bytes(seed, x)})
    assert expected.shape == (2, 4, 5, 3)


@FEW
@given(
    SEED,
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from(["SAME", "VALID"]),
    SCALE,
    ZERO_POINT,
    ZERO_POINT,
)
def test_depthwise_conv_2d(
    seed, side, channels, multiplier, stride, padding, scale, zero_in, zero_out
):
    x = activation("x", (1, 8, 7, channels), scale, zero_in)
    shape = (1, side, side, channels * multiplier)
    operation = DepthwiseConv2D(
        inputs=(x, *convolution_constants(seed, shape, 3, x.scale)),
        name="y",
        quantisation=quantised(scale * 2, zero_out),
        stride=(stride, stride),
        padding=padding,
    )
    assert_kernels_agree(operation, {"x": random_bytes(seed, x)})


@pytest.mark.parametrize("kind", [Add, Sub, Mul])
@FEW
@given(
    SEED,
    st.tuples(SCALE, SCALE, SCALE),
    st.tuples(ZERO_POINT, ZERO_POINT, ZERO_POINT),
    st.sampled_from([(1, 4, 5, 6), (1, 1, 1, 6), (1, 1, 1, 1), (1, 4, 5, 1)]),
)
def test_add_sub_mul(kind, seed, scales, zero_points, shape):
    a = activation("a", (1, 4, 5, 6), scales[0], zero_points[0])
    b = activation("b", shape, scales[1], zero_points[1])
    out = quantised(scales[2], zero_points[2])
    operation = kind(inputs=(a, b), name="y", quantisation=out)
    assert_kernels_agree(operation, {"a": random_bytes(seed, a), "b": random_bytes(seed + 1, b)})


def test_subtracting_the_maximum_is_exact_for_every_pair():
    every = np.arange(-128, 128).astype(np.int8)
    x, m = activation("x", (1, 256, 256)), activation("m", (1, 256, 1))
    operation = Sub(inputs=(x, m), name="d", quantisation=quantised(x.scale, 127))
    tiled = np.tile(every, (256, 1))[None]
    got = assert_kernels_agree(operation, {"x": tiled, "m": every.reshape(1, 256, 1)})
    below = tiled.astype(int) - every.reshape(1, 256, 1)
    assert np.array_equal(got, np.clip(below + 127, -128, 127))


@pytest.mark.parametrize("kind", [Logistic, HardSwish, Exp])
@settings(max_examples=40)
@given(SCALE, ZERO_POINT, SCALE, ZERO_POINT)
def test_tables_for_all_256_inputs(kind, scale, zero_in, scale_out, zero_out):
    x = activation("x", (1, 256), scale, 127 if kind is Exp else zero_in)
    out = quantised(1 / 256, -128) if kind is Logistic else quantised(scale_out, zero_out)
    operation = kind(inputs=(x,), name="y", quantisation=out)
    every = np.arange(-128, 128).astype(np.int8)[None]
    assert_kernels_agree(operation, {"x": every})


@FEW
@given(SEED, st.booleans(), st.booleans(), st.tuples(*[st.integers(1, 17)] * 3), SCALE, ZERO_POINT)
def test_batch_matmul(seed, adjoint_a, adjoint_b, sizes, scale, zero_point):
    rows, inner, columns = sizes
    shape_a = (1, 3, inner, rows) if adjoint_a else (1, 3, rows, inner)
    shape_b = (1, 3, columns, inner) if adjoint_b else (1, 3, inner, columns)
    a, b = activation("a", shape_a, scale, zero_point), activation("b", shape_b, 0.02, 0)
    operation = BatchMatMul(
        inputs=(a, b),
        name="y",
        quantisation=quantised(scale * 2, 7),
        adjoint_a=adjoint_a,
        adjoint_b=adjoint_b,
    )
    assert_kernels_agree(operation, {"a": random_bytes(seed, a), "b": random_bytes(seed + 1, b)})


def test_batch_matmul_refuses_a_right_operand_with_a_zero_point():
    a, b = activation("a", (1, 1, 2, 3)), activation("wrong", (1, 1, 3, 2), 0.1, 4)
    with pytest.raises(ConversionError, match="right operand wrong has zero point 4"):
        BatchMatMul(inputs=(a, b), name="y", quantisation=quantised(0.1, 0))


@FEW
@given(SEED, st.integers(1, 30), st.integers(1, 30), SCALE, SCALE, ZERO_POINT, ZERO_POINT)
def test_mean(seed, height, width, scale, scale_out, zero_in, zero_out):
    x = activation("x", (1, height, width, 9), scale, zero_in)
    axes = constant("axes", np.array([1, 2], np.int32))
    operation = Mean(inputs=(x, axes), name="y", quantisation=quantised(scale_out, zero_out))
    assert_kernels_agree(operation, {"x": random_bytes(seed, x)})


@FEW
@given(SEED, st.sampled_from([1, 2, 3]))
def test_reduce_max(seed, axis):
    x = activation("x", (1, 3, 7, 5))
    axes = constant("axes", np.array([axis], np.int32))
    operation = ReduceMax(inputs=(x, axes), name="y", quantisation=x.quantisation)
    assert_kernels_agree(operation, {"x": random_bytes(seed, x)})


def moved(kind, shape, *constants, **attributes):
    x = activation("x", shape)
    tensors = tuple(constant(f"c{i}", values) for i, values in enumerate(constants))
    return kind(inputs=(x, *tensors), name="y", quantisation=x.quantisation, **attributes)


@pytest.mark.parametrize(
    "operation",
    [
        moved(Pad, (1, 3, 4, 2), np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32)),
        moved(Pad, (1, 3, 8), np.array([[0, 0], [1, 2], [0, 3]], np.int32)),
        moved(Reshape, (1, 3, 4, 2), np.array([1, 12, 2], np.int32)),
        moved(Transpose, (1, 3, 4, 2), np.array([0, 2, 3, 1], np.int32)),
        moved(Transpose, (1, 30, 4), np.array([0, 2, 1], np.int32)),
        moved(MaxPool2D, (1, 7, 9, 3), window=(3, 3), stride=(2, 2)),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_moving_and_pooling(operation):
    assert_kernels_agree(operation, {"x": random_bytes(1, operation.inputs[0])})


def test_slice():
    x = activation("x", (1, 3, 4, 8))
    begin, size = (
        constant(n, np.array(v, np.int32)) for n, v in (("b", [0, 1, 0, 5]), ("s", [1, 2, 4, 1]))
    )
    operation = Slice(inputs=(x, begin, size), name="y", quantisation=x.quantisation)
    assert_kernels_agree(operation, {"x": random_bytes(1, x)})


def test_pad_with_a_value():
    x = activation("x", (1, 3, 8))
    amounts = constant("n", np.array([[0, 0], [1, 1], [2, 2]], np.int32))
    lowest = constant("v", np.array([-128], np.int8), x.quantisation)
    operation = PadV2(inputs=(x, amounts, lowest), name="y", quantisation=x.quantisation)
    got = assert_kernels_agree(operation, {"x": random_bytes(1, x)})
    assert np.all(got[:, 0] == -128)


def test_maximum():
    x = activation("x", (1, 3, 8))
    floor = constant("v", np.array([[[0]]], np.int8), x.quantisation)
    operation = Maximum(inputs=(x, floor), name="y", quantisation=x.quantisation)
    assert assert_kernels_agree(operation, {"x": random_bytes(1, x)}).min() == 0


def test_uint8_image_to_int8_for_every_value():
    image = Tensor("x", (1, 16, 16), "uint8", quantised(1.0, 0))
    operation = Quantize(inputs=(image,), name="y", quantisation=quantised(1.0, -128))
    every = np.arange(256).astype(np.uint8).reshape(1, 16, 16)
    got = assert_kernels_agree(operation, {"x": every})
    assert np.array_equal(got, every.astype(int) - 128)


def int32_tensor(name: str, shape) -> Tensor:
    return Tensor(name, tuple(shape), "int32")


def test_bytes_turn_signed_as_words():
    every = np.arange(256).astype(np.uint8).reshape(1, 64, 4)
    image = Tensor("x", (1, 64, 4), "uint8", quantised(1.0, 0))
    words = assert_kernels_agree(Bitcast(inputs=(image,), name="y"), {"x": every})
    bits = constant("b", np.full((1, 64), 0x80808080, np.uint32).view(np.int32))
    plain = int32_tensor("x", (1, 64))
    turned = assert_kernels_agree(BitwiseXor(inputs=(plain, bits), name="y"), {"x": words})
    cast = Bitcast(inputs=(plain,), name="y", quantisation=quantised(1.0, -128))
    got = assert_kernels_agree(cast, {"x": turned})
    assert np.array_equal(got, every.astype(int) - 128)


def test_cast_to_int32():
    x = activation("x", (1, 256))
    every = np.arange(-128, 128).astype(np.int8)[None]
    got = assert_kernels_agree(CastToInt32(inputs=(x,), name="y"), {"x": every})
    assert got.dtype == np.int32


@FEW
@given(SEED, st.integers(0, 12))
def test_int32_arithmetic(seed, bits):
    x = int32_tensor("x", (1, 5, 4))
    values = np.random.default_rng(seed).integers(-(2**27), 2**27, (2, 5, 4)).astype(np.int32)
    shift = constant("s", np.array([[[bits]]], np.int32))
    assert_kernels_agree(RightShift(inputs=(x, shift), name="y"), {"x": values})
    assert_kernels_agree(Add(inputs=(x, shift), name="y"), {"x": values})
    axes = constant("axes", np.array([1], np.int32))
    assert_kernels_agree(Sum(inputs=(x, axes), name="y"), {"x": values})


@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_gather(dtype):
    indices = int32_tensor("i", (1, 5, 4))
    scale = quantised(0.1, 3) if dtype is np.int8 else None
    table = constant("t", np.arange(-100, 100).astype(dtype), scale)
    values = np.random.default_rng(0).integers(0, 200, (2, 5, 4)).astype(np.int32)
    assert_kernels_agree(
        Gather(inputs=(table, indices), name="y", quantisation=scale), {"i": values}
    )


def test_gather_refuses_indices_outside_its_table():
    indices = int32_tensor("i", (1, 2))
    table = constant("t", np.zeros(5, np.int32))
    operation = Gather(inputs=(table, indices), name="y")
    with pytest.raises(ConversionError, match="outside the table"):
        operation.reference(table.data, np.array([[0, 5]], np.int32))


X = activation("x", (1, 4, 4, 2))
OTHER = quantised(0.3, 9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Logistic(inputs=(X,), name="y", quantisation=OTHER),
        lambda: HardSwish(inputs=(X,), name="y", quantisation=quantised(1e-6, 0)),
        lambda: Maximum(inputs=(X, X), name="y", quantisation=OTHER),
        lambda: MaxPool2D(inputs=(X,), name="y", quantisation=OTHER, window=(2, 2), stride=(2, 2)),
        lambda: Add(inputs=(X, int32_tensor("i", (1,))), name="y", quantisation=OTHER),
        lambda: Add(inputs=(X, X), name="y"),
        lambda: moved(Reshape, (1, 4), np.array([4, 1], np.int32)),
        lambda: moved(Transpose, (1, 4), np.array([1, 0], np.int32)),
        lambda: Sum(inputs=(X, constant("a", np.array([1], np.int32))), name="y"),
        lambda: ReduceMax(
            inputs=(X, constant("a", np.array([0], np.int32))),
            name="y",
            quantisation=X.quantisation,
        ),
        lambda: Mean(
            inputs=(X, constant("a", np.array([1], np.int32))), name="y", quantisation=OTHER
        ),
        lambda: Quantize(inputs=(X,), name="y", quantisation=OTHER),
        lambda: Bitcast(inputs=(X,), name="y"),
        lambda: BitwiseXor(inputs=(X, X), name="y"),
    ],
)
def test_what_kernels_would_misread_is_refused_by_name(make):
    with pytest.raises(ConversionError, match=r"^y: "):
        make()
