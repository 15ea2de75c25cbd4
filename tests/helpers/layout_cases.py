"""Random changes of place and type, and tables; see `operation_cases`."""

from __future__ import annotations

import numpy as np
from drawing import BATCH, EVERY_BYTE, SCALE, SEED, ZERO_POINT, Draw, inputs_of, words
from hypothesis import strategies as st
from one_operation import Case, activation, constant, int32_tensor, quantised

from qlvit_edge.converters.graph import Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.lookup import Bitcast, CastToInt32, Gather, Quantize
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.relabel import Relabel, Vector
from qlvit_edge.converters.ops.shape import Pad, PadV2, Reshape, Slice, Transpose


@st.composite
def max_pool_2d(draw: Draw) -> Case:
    window = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    shape = (1, window[0] + draw(st.integers(0, 6)), window[1] + draw(st.integers(0, 6)))
    x = activation("x", (*shape, draw(st.integers(1, 17))), draw(SCALE), draw(ZERO_POINT))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    operation = MaxPool2D(
        inputs=(x,), name="y", quantisation=x.quantisation, window=window, stride=stride
    )
    return Case(operation, inputs_of(draw, x))


def _map(draw: Draw) -> Tensor:
    shape = (1, *draw(st.lists(st.integers(1, 8), min_size=1, max_size=3)))
    return activation("x", shape, draw(SCALE), draw(ZERO_POINT))


def _moved(draw: Draw, kind: type[Operation], x: Tensor, *constants: Tensor) -> Case:
    operation = kind(inputs=(x, *constants), name="y", quantisation=x.quantisation)
    return Case(operation, inputs_of(draw, x))


def _amounts(draw: Draw, rank: int) -> Tensor:
    pairs = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank - 1)]
    return constant("n", np.array([(0, 0), *pairs], np.int32))


@st.composite
def pad(draw: Draw) -> Case:
    x = _map(draw)
    return _moved(draw, Pad, x, _amounts(draw, len(x.shape)))


@st.composite
def pad_v2(draw: Draw) -> Case:
    x = _map(draw)
    value = constant("v", np.array([draw(st.integers(-128, 127))], np.int8), x.quantisation)
    return _moved(draw, PadV2, x, _amounts(draw, len(x.shape)), value)


@st.composite
def reshape(draw: Draw) -> Case:
    x = _map(draw)
    sizes = draw(st.permutations(x.shape[1:]))
    cut = draw(st.integers(0, len(sizes)))
    merged = [1, int(np.prod(sizes[:cut], dtype=int)), *sizes[cut:]]
    return _moved(draw, Reshape, x, constant("s", np.array(merged, np.int32)))


@st.composite
def transpose(draw: Draw) -> Case:
    x = _map(draw)
    order = [0, *draw(st.permutations(range(1, len(x.shape))))]
    return _moved(draw, Transpose, x, constant("p", np.array(order, np.int32)))


@st.composite
def slices(draw: Draw) -> Case:
    x = _map(draw)
    begin = [0, *(draw(st.integers(0, side - 1)) for side in x.shape[1:])]
    pairs = zip(x.shape[1:], begin[1:], strict=True)
    size = [1, *(draw(st.integers(1, side - first)) for side, first in pairs)]
    box = (constant(n, np.array(v, np.int32)) for n, v in (("begin", begin), ("size", size)))
    return _moved(draw, Slice, x, *box)


@st.composite
def concatenation(draw: Draw) -> Case:
    shape = [1, *draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))]
    axis = draw(st.integers(1, len(shape) - 1))
    scale, zero_point = draw(SCALE), draw(ZERO_POINT)
    sides = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    parts = [
        activation(f"x{i}", (*shape[:axis], side, *shape[axis + 1 :]), scale, zero_point)
        for i, side in enumerate(sides)
    ]
    given = inputs_of(draw, *parts)
    if len(parts) > 1 and draw(st.booleans()):
        parts[-1] = constant("c", given.pop(parts[-1].name)[:1], parts[0].quantisation)
    operation = Concatenation(
        inputs=tuple(parts), name="y", quantisation=parts[0].quantisation, axis=axis
    )
    return Case(operation, given)


@st.composite
def quantize(draw: Draw) -> Case:
    scale, zero_point = draw(SCALE), draw(st.integers(0, 255))
    image = Tensor("x", (1, 16, 16), "uint8", quantised(scale, zero_point))
    out = quantised(scale, zero_point - 128)
    every = np.arange(256).astype(np.uint8).reshape(1, 16, 16)
    return Case(Quantize(inputs=(image,), name="y", quantisation=out), {"x": every})


@st.composite
def bitcast(draw: Draw) -> Case:
    image = Tensor("x", (1, 16, 16), "uint8", quantised(draw(SCALE), 0))
    every = np.arange(256).astype(np.uint8).reshape(1, 16, 16)
    operation = Bitcast(inputs=(image,), name="y", quantisation=image.quantisation)
    return Case(operation, {"x": every})


@st.composite
def relabel(draw: Draw) -> Case:
    rows, channels = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    x = activation("x", (1, 1, 1, rows * channels), draw(SCALE), draw(ZERO_POINT))
    per_channel = Quantisation(tuple(draw(SCALE) for _ in range(channels)), 0, 3)
    target = constant("s", np.array([1, rows, 1, channels], np.int32))
    operation = Relabel(inputs=(x, target), name="y", quantisation=per_channel)
    return Case(operation, inputs_of(draw, x))


@st.composite
def vector(draw: Draw) -> Case:
    channels = draw(st.integers(1, 9))
    x = int32_tensor("x", (1, 1, channels))
    target = constant("s", np.array([channels], np.int32))
    return Case(Vector(inputs=(x, target), name="y"), {"x": words(draw, (1, channels))})


@st.composite
def cast_to_int32(draw: Draw) -> Case:
    x = activation("x", (1, 256), draw(SCALE), draw(ZERO_POINT))
    return Case(CastToInt32(inputs=(x,), name="y"), {"x": EVERY_BYTE})


@st.composite
def gather(draw: Draw) -> Case:
    generator = np.random.default_rng(draw(SEED))
    length, rows = draw(st.sampled_from([1, 2, 256, 5000])), draw(st.sampled_from([(), (1,), (7,)]))
    narrow = draw(st.booleans())
    scale = quantised(draw(SCALE), draw(ZERO_POINT)) if narrow else None
    entries = generator.integers(-(2**31), 2**31, (length, *rows)).astype(np.int32)
    table = constant("t", entries.astype(np.int8) if narrow else entries, scale)
    indices = int32_tensor("i", (1, draw(st.integers(1, 6)), draw(st.integers(1, 6))))
    given = generator.integers(0, length, (BATCH, *indices.shape[1:])).astype(np.int32)
    return Case(Gather(inputs=(table, indices), name="y", quantisation=scale), {"i": given})
