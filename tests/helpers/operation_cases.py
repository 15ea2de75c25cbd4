"""Random operations of every kind: a hypothesis strategy of cases per operation class."""

from __future__ import annotations

import arithmetic_cases as arithmetic
import int16_cases as wide
import layout_cases as layout
from hypothesis import strategies as st
from one_operation import Case

from qlvit_edge.converters.graph import Operation
from qlvit_edge.converters.ops.activation import Elu, Exp, HardSwish, Logistic
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.convolution import (
    Conv2D,
    DepthwiseConv2D,
    DynamicDepthwiseConv2D,
)
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Minimum, Mul, RightShift, Sub
from qlvit_edge.converters.ops.lookup import (
    Bitcast,
    CastToInt32,
    Gather,
    Quantize,
)
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.reduction import Mean, ReduceMax, Sum
from qlvit_edge.converters.ops.relabel import Relabel, Vector
from qlvit_edge.converters.ops.requantise import Requantize
from qlvit_edge.converters.ops.shape import Pad, PadV2, Reshape, Slice, Transpose
from qlvit_edge.converters.ops.softmax import Softmax

CASES: dict[type[Operation], st.SearchStrategy[Case]] = {
    Conv2D: arithmetic.conv_2d() | wide.conv_2d,
    DepthwiseConv2D: arithmetic.depthwise_conv_2d() | wide.depthwise_conv_2d,
    DynamicDepthwiseConv2D: arithmetic.dynamic_depthwise_conv_2d(),
    BatchMatMul: arithmetic.batch_matmul() | wide.batch_matmul,
    Add: arithmetic.sums(Add) | wide.add(),
    Sub: arithmetic.sums(Sub),
    Mul: arithmetic.mul() | wide.mul(),
    Maximum: arithmetic.extrema(Maximum),
    Minimum: arithmetic.extrema(Minimum),
    Mean: arithmetic.mean(),
    ReduceMax: arithmetic.reduce_max(),
    Sum: arithmetic.int32_sum(),
    MaxPool2D: layout.max_pool_2d(),
    Logistic: arithmetic.logistic(),
    HardSwish: arithmetic.hard_swish(),
    Elu: arithmetic.elu(),
    Exp: arithmetic.exponential(),
    Softmax: arithmetic.softmax(),
    Pad: layout.pad() | wide.pad,
    PadV2: layout.pad_v2(),
    Relabel: layout.relabel(),
    Vector: layout.vector(),
    Reshape: layout.reshape() | wide.reshape,
    Transpose: layout.transpose() | wide.transpose,
    Slice: layout.slices(),
    Concatenation: layout.concatenation(),
    Quantize: layout.quantize(),
    Requantize: wide.requantize(),
    Bitcast: layout.bitcast(),
    CastToInt32: layout.cast_to_int32(),
    Gather: layout.gather(),
    RightShift: arithmetic.right_shift(),
}
"""A strategy for every operation of the integer graph."""
