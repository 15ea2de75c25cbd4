"""Random convolutions, products, sums, tables and means; see `operation_cases`."""

from __future__ import annotations

import math

import numpy as np
from drawing import (
    BATCH,
    EVERY_BYTE,
    FACTOR,
    PADDING,
    SCALE,
    SEED,
    ZERO_POINT,
    Draw,
    inputs_of,
    powers,
    values,
    words,
)
from hypothesis import strategies as st
from one_operation import Case, activation, constant, int32_tensor, quantised

from qlvit_edge.converters.graph import Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.activation import Elu, Exp, HardSwish, Logistic
from qlvit_edge.converters.ops.convolution import (
    UNIT_QUANTISATION,
    Clip,
    Conv2D,
    DepthwiseConv2D,
    DynamicDepthwiseConv2D,
)
from qlvit_edge.converters.ops.elementwise import Mul, RightShift
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.reduction import Mean, ReduceMax, Sum
from qlvit_edge.converters.ops.softmax import Softmax
from qlvit_edge.integer.log2_softmax import (
    CODE_SCALE,
    CODE_ZERO_POINT,
    ELU_ZERO_POINT,
    EXP_SCALE,
    POWER_ELU_SCALE,
    SHIFTED_ZERO_POINT,
    shifted_scale,
)


def _constants(
    draw: Draw, shape: tuple[int, ...], axis: int, x: Tensor, factor: float
) -> tuple[Tensor, Tensor, float]:
    """Draw weights and bias; returns them and the output's scale."""
    generator = np.random.default_rng(draw(SEED))
    channels = shape[axis]
    base = draw(powers(-10, -3))
    spread = 2.0 ** generator.uniform(-1, 0, channels) if draw(st.booleans()) else np.ones(channels)
    scales = tuple((base * spread).astype(np.float32).tolist())
    largest = draw(st.sampled_from([3, 127]))
    weights = generator.integers(-largest, largest + 1, shape).astype(np.int8)
    # Into the units of a fused clip it is multiplied by up to 64, and must stay in int32.
    reach = draw(st.sampled_from([1, 3000, 2**24]))
    bias = generator.integers(-reach, reach + 1, channels).astype(np.int32)
    bias_scales = tuple(float(np.float32(s) * np.float32(x.scale)) for s in scales)
    return (
        constant("w", weights, Quantisation(scales, 0, axis)),
        constant("b", bias, Quantisation(bias_scales, 0, 0)),
        x.scale * base / factor,
    )


def _end(draw: Draw, scale: float) -> tuple[Clip, Quantisation]:
    """Draw a fused activation and the output's quantisation."""
    activation: Clip = draw(st.sampled_from(["NONE", "RELU", "RELU_N1_TO_1"]))
    if activation == "RELU_N1_TO_1":
        return activation, UNIT_QUANTISATION
    return activation, quantised(scale, draw(ZERO_POINT))


@st.composite
def conv_2d(draw: Draw) -> Case:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    read, outputs = draw(st.integers(1, 9)), groups * draw(st.integers(1, 9))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    # The runtime has dilated convolutions without strides only.
    dilation = draw(st.integers(1, 3)) if stride == (1, 1) else 1
    height = (rows - 1) * dilation + draw(st.integers(1, 6))
    width = columns + draw(st.integers(0, 5))
    x = activation("x", (1, height, width, groups * read), draw(SCALE), draw(ZERO_POINT))
    weight, bias, scale = _constants(draw, (outputs, rows, columns, read), 0, x, draw(FACTOR))
    clip, quantisation = _end(draw, scale)
    operation = Conv2D(
        inputs=(x, weight, bias),
        name="y",
        quantisation=quantisation,
        stride=stride,
        padding=draw(PADDING),
        activation=clip,
        dilation=dilation,
    )
    return Case(operation, inputs_of(draw, x))


@st.composite
def depthwise_conv_2d(draw: Draw) -> Case:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    channels, multiplier = draw(st.integers(1, 17)), draw(st.sampled_from([1, 1, 2, 3]))
    shape = (1, rows + draw(st.integers(0, 6)), columns + draw(st.integers(0, 6)), channels)
    x = activation("x", shape, draw(SCALE), draw(ZERO_POINT))
    shape = (1, rows, columns, channels * multiplier)
    weight, bias, scale = _constants(draw, shape, 3, x, draw(FACTOR))
    side = draw(st.integers(1, 3))
    clip, quantisation = _end(draw, scale)
    operation = DepthwiseConv2D(
        inputs=(x, weight, bias),
        name="y",
        quantisation=quantisation,
        stride=(side, side),
        padding=draw(PADDING),
        activation=clip,
    )
    return Case(operation, inputs_of(draw, x))


@st.composite
def dynamic_depthwise_conv_2d(draw: Draw) -> Case:
    """Weights and bias of each image its own; what is negative saturates."""
    rows, columns = draw(st.sampled_from([(3, 3), (3, 3), (1, 1), (2, 4)]))
    channels = draw(st.sampled_from([1, 3, 8, 16, 24, 33]))
    shape = (1, rows + draw(st.integers(0, 8)), columns + draw(st.integers(0, 8)), channels)
    x = activation("x", shape, draw(SCALE), draw(ZERO_POINT))
    stored, offset, scale = _constants(draw, (1, rows, columns, channels), 3, x, draw(FACTOR))
    weight, bias = (Tensor(t.name, t.shape, t.dtype, t.quantisation) for t in (stored, offset))
    side = draw(st.integers(1, 3))
    operation = DynamicDepthwiseConv2D(
        inputs=(x, weight, bias),
        name="y",
        quantisation=quantised(scale, -128),
        stride=(side, side),
        padding=draw(PADDING),
    )
    generator = np.random.default_rng(draw(SEED))
    given = inputs_of(draw, x, weight)
    # Into the units of a fused clip it is multiplied by up to 64, and must stay in int32.
    reach = draw(st.sampled_from([1, 3000, 2**24]))
    given["b"] = generator.integers(-reach, reach + 1, (BATCH, channels)).astype(np.int32)
    return Case(operation, given)


def _broadcast_shapes(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    kept = [draw(st.sampled_from(["both", "both", "first", "second"])) for _ in shape]
    a = tuple(1 if k == "second" else size for k, size in zip(kept, shape, strict=True))
    b = tuple(1 if k == "first" else size for k, size in zip(kept, shape, strict=True))
    return (1, *a), (1, *b)


def sums(kind: type[Operation]) -> st.SearchStrategy[Case]:
    @st.composite
    def make(draw: Draw) -> Case:
        first, second = _broadcast_shapes(draw)
        if draw(st.integers(0, 3)) == 0:
            return _int32_pair(draw, kind, first, second)
        scale = draw(SCALE)
        a = activation("a", first, scale, draw(ZERO_POINT))
        b = activation("b", second, scale * draw(powers(-12, 12)), draw(ZERO_POINT))
        out = max(a.scale, b.scale) * draw(powers(-7.9, 8))
        operation = kind(
            inputs=(a, b),
            name="y",
            quantisation=quantised(out, draw(ZERO_POINT)),
            activation=draw(st.sampled_from(["NONE", "RELU"])),
        )
        return Case(operation, inputs_of(draw, a, b))

    return make()


def _int32_pair(
    draw: Draw, kind: type[Operation], first: tuple[int, ...], second: tuple[int, ...]
) -> Case:
    a, b = int32_tensor("a", first), int32_tensor("b", second)
    inputs = {t.name: words(draw, t.shape[1:]) for t in (a, b)}
    return Case(kind(inputs=(a, b), name="y"), inputs)


@st.composite
def mul(draw: Draw) -> Case:
    first, second = _broadcast_shapes(draw)
    if draw(st.integers(0, 3)) == 0:
        return _int32_pair(draw, Mul, first, second)
    a = activation("a", first, draw(SCALE), draw(ZERO_POINT))
    b = activation("b", second, draw(SCALE), draw(ZERO_POINT))
    out = quantised(a.scale * b.scale / draw(FACTOR), draw(ZERO_POINT))
    return Case(Mul(inputs=(a, b), name="y", quantisation=out), inputs_of(draw, a, b))


def extrema(kind: type[Operation]) -> st.SearchStrategy[Case]:
    @st.composite
    def make(draw: Draw) -> Case:
        first, second = _broadcast_shapes(draw)
        if draw(st.integers(0, 3)) == 0:
            return _int32_pair(draw, kind, first, second)
        scale, zero_point = draw(SCALE), draw(ZERO_POINT)
        a = activation("a", first, scale, zero_point)
        b = activation("b", second, scale, zero_point)
        operation = kind(inputs=(a, b), name="y", quantisation=a.quantisation)
        return Case(operation, inputs_of(draw, a, b))

    return make()


@st.composite
def right_shift(draw: Draw) -> Case:
    x = int32_tensor("x", (1, draw(st.integers(1, 9)), draw(st.integers(1, 9))))
    shape = draw(st.sampled_from([(1, 1, 1), x.shape]))
    amount = constant("s", np.full(shape, draw(st.integers(0, 31)), np.int32))
    return Case(RightShift(inputs=(x, amount), name="y"), {"x": words(draw, x.shape[1:])})


@st.composite
def logistic(draw: Draw) -> Case:
    x = activation("x", (1, 256), draw(SCALE), draw(ZERO_POINT))
    operation = Logistic(inputs=(x,), name="y", quantisation=quantised(1 / 256, -128))
    return Case(operation, {"x": EVERY_BYTE})


@st.composite
def softmax(draw: Draw) -> Case:
    shape = (1, *(draw(st.integers(1, 9)) for _ in range(draw(st.integers(1, 3)))))
    x = activation("x", shape, draw(SCALE), draw(ZERO_POINT))
    operation = Softmax(inputs=(x,), name="y", quantisation=quantised(1 / 256, -128))
    return Case(operation, inputs_of(draw, x))


@st.composite
def hard_swish(draw: Draw) -> Case:
    x = activation("x", (1, 256), draw(SCALE), draw(ZERO_POINT))
    out = quantised(x.scale * draw(powers(-6.99, 9)), draw(ZERO_POINT))
    return Case(HardSwish(inputs=(x,), name="y", quantisation=out), {"x": EVERY_BYTE})


@st.composite
def elu(draw: Draw) -> Case:
    """The two uses that ELU has: the exponential of logits, and powers of two of codes."""
    if draw(st.booleans()):
        x = activation("x", (1, 256), shifted_scale(draw(SCALE)), SHIFTED_ZERO_POINT)
        out = quantised(EXP_SCALE, ELU_ZERO_POINT)
    else:
        x = activation("x", (1, 256), CODE_SCALE, CODE_ZERO_POINT)
        out = quantised(POWER_ELU_SCALE, ELU_ZERO_POINT)
    return Case(Elu(inputs=(x,), name="y", quantisation=out), {"x": EVERY_BYTE})


@st.composite
def exponential(draw: Draw) -> Case:
    x = activation("x", (1, 256), draw(SCALE), draw(ZERO_POINT))
    # Kernels convert the table's entries to int32 before they saturate.
    largest = math.exp(min(x.scale * (127 - x.zero_point), 60.0))
    out = quantised(max(largest * draw(powers(-20, 4)), 1e-6), draw(ZERO_POINT))
    given = EVERY_BYTE[x.scale * (EVERY_BYTE.astype(int) - x.zero_point) <= 60.0][None]
    x = activation("x", given.shape, x.scale, x.zero_point)
    return Case(Exp(inputs=(x,), name="y", quantisation=out), {"x": given})


@st.composite
def batch_matmul(draw: Draw) -> Case:
    leading = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    rows, inner, columns = (draw(st.integers(1, 33)) for _ in range(3))
    adjoint_a, adjoint_b = draw(st.booleans()), draw(st.booleans())
    shape_a = (inner, rows) if adjoint_a else (rows, inner)
    shape_b = (columns, inner) if adjoint_b else (inner, columns)
    a = activation("a", (1, *leading, *shape_a), draw(SCALE), draw(ZERO_POINT))
    b = activation("b", (1, *leading, *shape_b), draw(SCALE), 0)
    if draw(st.booleans()):
        b = constant("b", np.maximum(values(draw, b.shape), -127), b.quantisation)
    operation = BatchMatMul(
        inputs=(a, b),
        name="y",
        quantisation=quantised(a.scale * b.scale / draw(FACTOR), draw(ZERO_POINT)),
        adjoint_a=adjoint_a,
        adjoint_b=adjoint_b,
    )
    return Case(operation, inputs_of(draw, *(t for t in (a, b) if t.data is None)))


@st.composite
def mean(draw: Draw) -> Case:
    shape = (1, draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(st.integers(1, 17)))
    x = activation("x", shape, draw(SCALE), draw(ZERO_POINT))
    out = quantised(x.scale * draw(powers(-6, 12)), draw(ZERO_POINT))
    axes = constant("axes", np.array([1, 2], np.int32))
    return Case(Mean(inputs=(x, axes), name="y", quantisation=out), inputs_of(draw, x))


@st.composite
def reduce_max(draw: Draw) -> Case:
    shape = (1, *draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    axes = draw(st.sets(st.integers(1, len(shape) - 1), min_size=1))
    x = activation("x", shape, draw(SCALE), draw(ZERO_POINT))
    named = constant("axes", np.array(sorted(axes), np.int32))
    operation = ReduceMax(inputs=(x, named), name="y", quantisation=x.quantisation)
    return Case(operation, inputs_of(draw, x))


@st.composite
def int32_sum(draw: Draw) -> Case:
    shape = (1, *draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    axes = draw(st.sets(st.integers(1, len(shape) - 1), min_size=1))
    x = int32_tensor("x", shape)
    reach = (2**31 - 1) // int(np.prod(shape))
    generator = np.random.default_rng(draw(SEED))
    given = generator.integers(-reach, reach + 1, (BATCH, *shape[1:])).astype(np.int32)
    named = constant("axes", np.array(sorted(axes), np.int32))
    return Case(Sum(inputs=(x, named), name="y"), {"x": given})
