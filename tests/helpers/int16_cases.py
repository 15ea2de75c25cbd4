"""Random operations on int16 tensors, all of zero point 0; see `operation_cases`."""

from __future__ import annotations

from dataclasses import replace

import arithmetic_cases as arithmetic
import layout_cases as layout
import numpy as np
from drawing import BATCH, FACTOR, SCALE, SEED, ZERO_POINT, Draw, inputs_of, powers
from hypothesis import strategies as st
from one_operation import Case, activation, quantised

from qlvit_edge.converters.graph import Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.elementwise import Add, Mul
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.requantise import Requantize


def _words(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Draw int16 values."""
    generator = np.random.default_rng(draw(SEED))
    pattern = draw(st.sampled_from(["noise", "small", "ends", "lowest", "highest"]))
    if pattern in ("lowest", "highest"):
        return np.full(shape, 32767 if pattern == "highest" else -32768, np.int16)
    if pattern == "ends":
        return generator.choice(np.array([-32768, -32767, 32766, 32767], np.int16), shape)
    spread = 30.0 if pattern == "small" else 12000.0
    found = generator.normal(0, spread, shape)
    return np.clip(np.round(found), -32768, 32767).astype(np.int16)


def _wide(x: Tensor) -> Tensor:
    """The activation in int16: its values reach as far as in int8."""
    return Tensor(x.name, x.shape, "int16", Quantisation((x.scale / 256,), 0))


def _widens(case: Case) -> bool:
    """Whether a case is also one of int16: not one that clips at ±127, nor an int8 matrix."""
    operation = case.operation
    if isinstance(operation, BatchMatMul):
        return all(tensor.data is None for tensor in operation.inputs)
    return getattr(operation, "activation", "NONE") != "RELU_N1_TO_1"


def widened(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    """Turn int8 cases of an operation into int16 ones."""

    @st.composite
    def make(draw: Draw) -> Case:
        operation = draw(cases.filter(_widens)).operation
        inputs = [_wide(t) if t.dtype == "int8" and t.data is None else t for t in operation.inputs]
        bias = inputs[-1]
        if bias.data is not None and bias.dtype == "int32" and len(inputs) == 3:
            assert bias.quantisation is not None
            scales = tuple(scale / 256 for scale in bias.quantisation.scale)
            values = bias.data.astype(np.int64) * draw(st.sampled_from([1, 256]))
            inputs[-1] = Tensor(bias.name, bias.shape, "int64", Quantisation(scales, 0, 0), values)
        assert operation.quantisation is not None
        scale = operation.quantisation.scale[0] / 256
        wide = replace(operation, inputs=tuple(inputs), quantisation=quantised(scale, 0))
        given = [t for t in inputs if t.data is None]
        return Case(wide, {t.name: _words(draw, (BATCH, *t.shape[1:])) for t in given})

    return make()


def _pair(draw: Draw, kind: type[Operation], first: float, second: float, out: float) -> Case:
    shape = (1, *draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    other = draw(st.sampled_from([shape, (1,) * len(shape)]))
    a = Tensor("a", shape, "int16", quantised(first, 0))
    b = Tensor("b", other, "int16", quantised(second, 0))
    operation = kind(inputs=(a, b), name="y", quantisation=quantised(out, 0))
    return Case(operation, {t.name: _words(draw, (BATCH, *t.shape[1:])) for t in (a, b)})


@st.composite
def add(draw: Draw) -> Case:
    first = draw(SCALE) / 256
    second = first * draw(powers(-12, 12))
    return _pair(draw, Add, first, second, max(first, second) * draw(powers(-13.9, 8)))


@st.composite
def mul(draw: Draw) -> Case:
    first, second = draw(SCALE) / 256, draw(SCALE) / 256
    return _pair(draw, Mul, first, second, first * second / min(draw(FACTOR), 0.49))


@st.composite
def requantize(draw: Draw) -> Case:
    shape = (1, *draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    narrow = activation("x", shape, draw(SCALE), draw(ZERO_POINT))
    if draw(st.booleans()):
        out = quantised(narrow.scale / draw(powers(-6, 9)), 0)
        operation = Requantize(inputs=(narrow,), name="y", quantisation=out)
        return Case(operation, inputs_of(draw, narrow))
    wide = _wide(narrow)
    out = quantised(wide.scale * draw(powers(-4, 12)), draw(ZERO_POINT))
    operation = Requantize(inputs=(wide,), name="y", quantisation=out)
    return Case(operation, {"x": _words(draw, (BATCH, *shape[1:]))})


conv_2d = widened(arithmetic.conv_2d())
depthwise_conv_2d = widened(arithmetic.depthwise_conv_2d())
batch_matmul = widened(arithmetic.batch_matmul())
reshape = widened(layout.reshape())
transpose = widened(layout.transpose())
pad = widened(layout.pad())
