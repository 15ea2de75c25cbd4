"""Products whose sums the kernels' 32 bits do not hold are refused, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.sums import beyond_32_bits, sum_bounds
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.requantise import quantize_multiplier


@dataclass(frozen=True)
class Layer:
    """A layer of one output per channel: weights (O, I), bias (O,) and scales."""

    weights: np.ndarray
    bias: np.ndarray
    zero_point: int
    factor: float

    def convolution(self, depthwise: bool = False) -> Conv2D | DepthwiseConv2D:
        outputs, terms = self.weights.shape
        weight = self.weights.astype(np.int8)
        shape = (1, 1, 1, outputs) if depthwise else (outputs, 1, 1, terms)
        axis = None if outputs == 1 else 3 if depthwise else 0
        scales = Quantisation((1.0,) * outputs, 0, axis)
        channels = outputs if depthwise else terms
        x = Tensor("x", (1, 1, 1, channels), "int8", Quantisation((1.0,), self.zero_point))
        w = Tensor("w", shape, "int8", scales, data=weight.reshape(shape))
        of_bias = Quantisation((1.0,) * outputs, 0, None if outputs == 1 else 0)
        b = Tensor("b", (outputs,), "int32", of_bias, data=self.bias.astype(np.int32))
        kind = DepthwiseConv2D if depthwise else Conv2D
        return kind(inputs=(x, w, b), name="sums", quantisation=Quantisation((1 / self.factor,), 0))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    outputs, terms = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    weight, bias = st.integers(-127, 127), st.integers(-(2**31), 2**31 - 1)
    weights = draw(st.lists(weight, min_size=outputs * terms, max_size=outputs * terms))
    biases = draw(st.lists(bias | st.integers(-99, 99), min_size=outputs, max_size=outputs))
    factor = draw(st.sampled_from([0.01, 0.9, 1.0, 3.0, 1024.0, 2.0**20, 2.0**28]))
    shaped = np.array(weights).reshape(outputs, terms)
    return Layer(shaped, np.array(biases), draw(st.integers(-128, 127)), factor)


@settings(max_examples=150, deadline=None)
@given(layers())
def test_refused_is_what_some_input_takes_out_of_32_bits(layer: Layer) -> None:
    ends = (-128 - layer.zero_point, 127 - layer.zero_point)
    inputs = np.array(list(product(ends, repeat=layer.weights.shape[1])))
    sums = inputs @ layer.weights.T + layer.bias
    left = max(0, quantize_multiplier(layer.factor)[1])
    shifted = [int(one) << left for one in sums.ravel()]
    if all(-(2**31) <= one < 2**31 for one in shifted):
        layer.convolution()
        return
    with pytest.raises(
        ConversionError, match=r"sums: Conv2D: sums( of output channel \d)?.* 32 bits"
    ):
        layer.convolution()


@settings(max_examples=50, deadline=None)
@given(layers())
def test_bounds_are_reached(layer: Layer) -> None:
    low, high = sum_bounds(layer.weights, layer.bias, layer.zero_point)
    ends = (-128 - layer.zero_point, 127 - layer.zero_point)
    inputs = np.array(list(product(ends, repeat=layer.weights.shape[1])))
    sums = inputs @ layer.weights.T + layer.bias
    assert (low.tolist(), high.tolist()) == (sums.min(axis=0).tolist(), sums.max(axis=0).tolist())


def test_the_refusal_names_the_channel_and_a_remedy() -> None:
    weights, bias = np.array([[1], [127]]), np.array([0, 5])
    big = Layer(weights, bias, -128, 2.0**17)
    for depthwise, kind in ((False, "Conv2D"), (True, "DepthwiseConv2D")):
        with pytest.raises(ConversionError) as caught:
            big.convolution(depthwise)
        assert str(caught.value) == (
            f"sums: {kind}: sums of output channel 1, shifted left by 18 bits for the output's "
            "small scale, can be 1310720 to 8490844160, which 32 bits do not hold; calibrate the "
            "output with a larger range"
        )
        Layer(weights, bias, -128, 2.0**14).convolution(depthwise)
    found = beyond_32_bits(np.array([0]), np.array([2**31]), [0.5])
    assert found is not None
    assert found[1] == "make the bias smaller"


def test_a_product_of_matrices_is_held_to_the_same() -> None:
    a, b = (
        Tensor(name, shape, "int8", Quantisation((1.0,), 0))
        for name, shape in (("a", (1, 2, 64)), ("b", (1, 64, 3)))
    )

    def product_at(scale: float) -> BatchMatMul:
        return BatchMatMul(inputs=(a, b), name="ab", quantisation=Quantisation((scale,), 0))

    product_at(2.0**-9)
    with pytest.raises(ConversionError, match="ab: BatchMatMul: sums, shifted left by 11 bits"):
        product_at(2.0**-10)
