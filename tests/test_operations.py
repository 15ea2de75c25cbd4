"""What single operations promise by name: exact corners, and inputs they refuse.

Random shapes, scales and values of every operation are in `test_operation_properties`.
"""

from __future__ import annotations

import numpy as np
import pytest
from one_operation import Case, activation, constant, int32_tensor, outcomes, quantised

from qlvit_edge.converters.graph import Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.activation import Elu, HardSwish, Logistic
from qlvit_edge.converters.ops.convolution import DynamicDepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Sub
from qlvit_edge.converters.ops.lookup import Bitcast, Gather, Quantize
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.reduction import Mean, ReduceMax, Sum
from qlvit_edge.converters.ops.shape import PadV2, Reshape, Transpose
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.log2_softmax import CODE_SCALE, CODE_ZERO_POINT, POWER_ELU_SCALE


def ramp(tensor: Tensor) -> np.ndarray:
    """Two images of bytes that rise."""
    shape = (2, *tensor.shape[1:])
    return np.arange(np.prod(shape)).astype(np.uint8).view(np.int8).reshape(shape)


def exact(operation: Operation, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the reference's answer, which both arithmetics and both kernel sets give too."""
    found = outcomes(Case(operation, inputs))
    for other in (found.xnnpack, found.on_reference, found.on_default):
        np.testing.assert_array_equal(other, found.reference)
    return found.reference


def test_subtracting_the_maximum_is_exact_for_every_pair():
    every = np.arange(-128, 128).astype(np.int8)
    x, m = activation("x", (1, 256, 256)), activation("m", (1, 256, 1))
    operation = Sub(inputs=(x, m), name="d", quantisation=quantised(x.scale, 127))
    tiled = np.tile(every, (256, 1))[None]
    got = exact(operation, {"x": tiled, "m": every.reshape(1, 256, 1)})
    below = tiled.astype(int) - every.reshape(1, 256, 1)
    assert np.array_equal(got, np.clip(below + 127, -128, 127))


def test_pad_with_a_value():
    x = activation("x", (1, 3, 8))
    amounts = constant("n", np.array([[0, 0], [1, 1], [2, 2]], np.int32))
    lowest = constant("v", np.array([-128], np.int8), x.quantisation)
    operation = PadV2(inputs=(x, amounts, lowest), name="y", quantisation=x.quantisation)
    got = exact(operation, {"x": ramp(x)})
    assert np.all(got[:, 0] == -128)


def test_uint8_image_to_int8_for_every_value():
    image = Tensor("x", (1, 16, 16), "uint8", quantised(1.0, 0))
    operation = Quantize(inputs=(image,), name="y", quantisation=quantised(1.0, -128))
    every = np.arange(256).astype(np.uint8).reshape(1, 16, 16)
    got = exact(operation, {"x": every})
    assert np.array_equal(got, every.astype(int) - 128)


def test_uint8_read_as_int8_for_every_value():
    image = Tensor("x", (1, 16, 16), "uint8", quantised(1.0, 0))
    every = np.arange(256).astype(np.uint8).reshape(1, 16, 16)
    got = exact(Bitcast(inputs=(image,), name="y", quantisation=quantised(1.0, 0)), {"x": every})
    assert np.array_equal(got, (every.astype(int) + 128) % 256 - 128)


def dynamic_depthwise(zero_point: int, channels: int = 3) -> DynamicDepthwiseConv2D:
    scales = Quantisation((0.1,) * channels, 0, 3)
    return DynamicDepthwiseConv2D(
        inputs=(
            activation("x", (1, 4, 4, channels)),
            Tensor("w", (1, 3, 3, channels), "int8", scales),
            Tensor("b", (channels,), "int32"),
        ),
        name="y",
        quantisation=quantised(0.1, zero_point),
    )


def test_a_depthwise_convolution_with_a_kernel_of_each_image_needs_the_lowest_zero_point():
    assert dynamic_depthwise(-128).output.shape == (1, 2, 2, 3)
    with pytest.raises(ConversionError, match="give the output zero point -128"):
        dynamic_depthwise(-127)
    with pytest.raises(ConversionError, match="2049 channels; the builtin kernel holds 2048"):
        dynamic_depthwise(-128, 2049)


def test_an_elu_whose_table_hangs_on_a_last_bit_is_refused():
    # Half of 127 steps is 63.5.
    code = activation("x", (1, 4), CODE_SCALE, CODE_ZERO_POINT)
    with pytest.raises(ConversionError, match="nearly half a step"):
        Elu(inputs=(code,), name="y", quantisation=quantised(1 / 127, 127))
    with pytest.raises(ConversionError, match="another zero point than 127"):
        Elu(inputs=(code,), name="y", quantisation=quantised(POWER_ELU_SCALE, 0))
    table = Elu(inputs=(code,), name="y", quantisation=quantised(POWER_ELU_SCALE, 127)).table
    assert table[128 + CODE_ZERO_POINT - 9 : 128 + CODE_ZERO_POINT + 2].tolist() == [
        *(0, 0, 1, 2, 4, 8, 16, 32, 64, 127, 127)
    ]


def test_batch_matmul_refuses_a_right_operand_with_a_zero_point():
    a, b = activation("a", (1, 1, 2, 3)), activation("wrong", (1, 1, 3, 2), 0.1, 4)
    with pytest.raises(ConversionError, match="right operand wrong has zero point 4"):
        BatchMatMul(inputs=(a, b), name="y", quantisation=quantised(0.1, 0))


def moved(kind, shape, *constants, **attributes):
    x = activation("x", shape)
    tensors = tuple(constant(f"c{i}", values) for i, values in enumerate(constants))
    return kind(inputs=(x, *tensors), name="y", quantisation=x.quantisation, **attributes)


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
        lambda: HardSwish(inputs=(X,), name="y", quantisation=quantised(X.scale / 128, 0)),
        lambda: HardSwish(inputs=(X,), name="y", quantisation=quantised(X.scale * 520, 0)),
        lambda: Add(inputs=(X, X), name="y", quantisation=quantised(X.scale / 256, 0)),
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
    ],
)
def test_what_kernels_would_misread_is_refused_by_name(make):
    with pytest.raises(ConversionError, match=r"^y: "):
        make()
