"""No product of the integer graph can wrap on a Cortex-A72, whatever the input is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_operation import activation, constant, quantised
from random_networks import configs, observed, random_network, random_views

from qlvit_edge import bundled
from qlvit_edge.calibration.file import calibration_of
from qlvit_edge.converters.graph import Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.ops.activation import Exp, Logistic
from qlvit_edge.converters.ops.convolution import (
    UNIT_QUANTISATION,
    Clip,
    Conv2D,
    DepthwiseConv2D,
)
from qlvit_edge.converters.ops.elementwise import Maximum, Mul, Sub
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.requantise import Requantize
from qlvit_edge.converters.ops.shape import Reshape
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.safe_products import StoredBounds, require_safe_products
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.training.checkpoint import load_checkpoint


def product_with(right: Tensor, *before: Operation) -> Graph:
    a = activation("a", (1, 4, 8), 0.1, 3)
    operation = BatchMatMul(inputs=(a, right), name="y", quantisation=quantised(0.5, 0))
    given = {t.name: t for op in before for t in op.inputs if t.data is None}
    made = {op.name for op in before}
    inputs = [t for name, t in given.items() if name not in made]
    if not before:
        inputs = [right]
    return Graph("net", (a, *inputs), (operation.output,), (*before, operation))


def test_a_right_operand_that_can_be_anything_is_refused_by_name() -> None:
    right = activation("b", (1, 8, 4), 0.1, 0)
    with pytest.raises(ConversionError, match="y: BatchMatMul: its right operand b can hold -128"):
        require_safe_products(product_with(right))


def test_a_table_from_zero_up_and_products_of_it_are_safe() -> None:
    x = activation("x", (1, 8, 4), 0.05, 60)
    probabilities = Exp(inputs=(x,), name="p", quantisation=quantised(1 / 127, 0))
    sigmoid = Logistic(inputs=(x,), name="s", quantisation=quantised(1 / 256, -128))
    scaled = Mul(
        inputs=(sigmoid.output, probabilities.output), name="b", quantisation=quantised(0.01, 0)
    )
    graph = product_with(scaled.output, probabilities, sigmoid, scaled)
    assert require_safe_products(graph) == 1
    assert StoredBounds(graph).of(scaled.output)[0] == 0


def test_a_symmetric_product_of_signed_values_is_not() -> None:
    x, w = activation("x", (1, 8, 4), 0.05, 3), activation("w", (1, 8, 4), 0.05, 0)
    right = Mul(inputs=(x, w), name="b", quantisation=quantised(0.01, 0))
    with pytest.raises(ConversionError, match="operand b can hold -128"):
        require_safe_products(product_with(right.output, right))


def keys(clip: Clip) -> DepthwiseConv2D:
    x = activation("x", (1, 8, 4, 2), 0.05, 3)
    weights = constant("w", np.full((1, 1, 1, 2), 127, np.int8), Quantisation((0.1,) * 2, 0, 3))
    bias = Tensor("b", (2,), "int32", Quantisation((0.005,) * 2, 0, 0), np.zeros(2, np.int32))
    return DepthwiseConv2D(
        inputs=(x, weights, bias),
        name="keys",
        quantisation=UNIT_QUANTISATION,
        activation=clip,
    )


def test_signed_keys_are_safe_where_they_are_clipped() -> None:
    ends: dict[Clip, int] = {"RELU_N1_TO_1": -127, "NONE": -128}
    for clip, least in ends.items():
        made = keys(clip)
        shape = constant("shape", np.array([1, 8, 8], np.int32))
        same = Reshape(inputs=(made.output, shape), name="k", quantisation=UNIT_QUANTISATION)
        graph = product_with(same.output, made, same)
        assert StoredBounds(graph).of(same.output)[0] == least
        if least == -127:
            assert require_safe_products(graph) == 1
        else:
            with pytest.raises(ConversionError, match="operand k can hold -128"):
                require_safe_products(graph)
        lowest = np.full((1, 8, 4, 2), -128, np.int8)
        graph = Graph("keys", made.inputs[:1], (made.output,), (made,))
        assert run_reference(graph, {"x": lowest})["keys"].min() == least


def test_clipping_at_another_scale_is_refused() -> None:
    with pytest.raises(ConversionError, match="-1 … 1 is clipped at another scale"):
        replace(keys("RELU_N1_TO_1"), quantisation=quantised(1 / 126, 0))


def test_bounds_go_through_a_change_of_type() -> None:
    """What is wide between two narrow tensors keeps what it was made of."""
    made = keys("RELU_N1_TO_1")
    wide = Requantize(inputs=(made.output,), name="wide", quantisation=quantised(1 / 127 / 128, 0))
    two = constant("two", np.full((1, 1, 1, 1), 127 * 128, np.int16), quantised(2 / 127 / 128, 0))
    larger = Mul(inputs=(wide.output, two), name="larger", quantisation=quantised(1e-4, 0))
    narrow = Requantize(inputs=(larger.output,), name="narrow", quantisation=quantised(2 / 127, 0))
    bounds = StoredBounds(Graph("g", made.inputs[:1], (), (made, wide, larger, narrow)))
    assert bounds.of(wide.output) == (-127 * 128, 127 * 128)
    assert bounds.of(narrow.output) == (-127, 127)


def test_what_is_a_function_of_one_tensor_is_tabulated() -> None:
    """x - max(x, 0): intervals alone would say -128 to 127."""
    x = activation("x", (1, 8, 4), 0.05, 0)
    zero = constant("zero", np.zeros((1, 1, 1), np.int8), x.quantisation)
    positive = Maximum(inputs=(x, zero), name="positive", quantisation=x.quantisation)
    below = Sub(inputs=(x, positive.output), name="b", quantisation=quantised(0.05, 100))
    bounds = StoredBounds(Graph("g", (x,), (below.output,), (positive, below)))
    assert bounds.of(below.output) == (100 - 128, 100)


@pytest.mark.parametrize("name", bundled.names())
@pytest.mark.parametrize("form", ["fast", "exact"])
def test_the_bundled_networks_are_safe(name: str, form: Form) -> None:
    checkpoint = load_checkpoint(bundled.resolve_run(name))
    graph = integer_graph(checkpoint, calibration_of(checkpoint), form)
    assert require_safe_products(graph) >= 10


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(configs(), st.integers(0, 2**31), st.sampled_from(["fast", "exact"]))
def test_no_value_of_a_random_network_leaves_its_bounds(
    config: NetworkConfig, seed: int, form: Form
) -> None:
    network = random_network(config, seed)
    ranges, anchors = observed(network, seed)
    graph = lower(network, Writer("net", Int8(ScaleTable(ranges, anchors), form)))
    require_safe_products(graph)
    bounds = StoredBounds(graph)
    views = random_views(config, seed + 1, 4)
    kept = run_reference(graph, {graph.inputs[0].name: views}, arithmetic="xnnpack", keep_all=True)
    narrower = 0
    for operation in graph.operations:
        low, high = bounds.of(operation.output)
        values = kept[operation.name]
        assert low <= values.min(), operation.name
        assert values.max() <= high, operation.name
        narrower += operation.output.dtype == "int8" and (low, high) != (-128, 127)
    assert narrower > 20


@pytest.mark.parametrize("kind", [Conv2D, DepthwiseConv2D])
def test_a_weight_of_minus_128_is_refused(kind: type[Conv2D | DepthwiseConv2D]) -> None:
    x = activation("x", (1, 4, 4, 2))
    shape = (2, 3, 3, 2) if kind is Conv2D else (1, 3, 3, 2)
    axis = 0 if kind is Conv2D else 3
    weights = np.ones(shape, np.int8)
    weights.flat[5] = -128
    scales = Quantisation((0.1, 0.1), 0, axis)
    bias = Tensor("b", (2,), "int32", Quantisation((0.005,) * 2, 0, 0), np.zeros(2, np.int32))
    inputs = (x, constant("w", weights, scales), bias)
    with pytest.raises(ConversionError, match="a weight of -128"):
        kind(inputs=inputs, name="y", quantisation=quantised(0.1, 0))
