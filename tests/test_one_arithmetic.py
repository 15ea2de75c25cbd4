"""x86-64 and arm64 compute the same: every product and sum is tried, scales are moved until so."""

from __future__ import annotations

import itertools

import near_ties
import numpy as np
import pytest
from near_ties import parting
from one_operation import activation, constant, quantised

from qlvit_edge import bundled
from qlvit_edge.calibration.file import calibration_of
from qlvit_edge.converters.graph import Graph, Quantisation, Tensor
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.one_arithmetic import one_arithmetic, two_forms, with_scales
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.elementwise import Maximum, Mul
from qlvit_edge.converters.ops.forms import TwoForms
from qlvit_edge.converters.ops.shape import Reshape
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.errors import ConversionError
from qlvit_edge.training.checkpoint import load_checkpoint


def first_parting(make: object, seed: int) -> TwoForms:
    operation, _ = next(parting(make, seed))  # type: ignore[arg-type]
    return operation


def alone(operation: TwoForms) -> Graph:
    inputs = tuple(tensor for tensor in operation.inputs if tensor.data is None)
    return Graph("one", inputs, (operation.output,), (operation,))


def steps_between(first: float, second: float) -> int:
    """How many float32 numbers the second is above the first; both are positive."""
    a, b = np.array([first, second], np.float32).view(np.int32).astype(int)
    return int(b - a)


@pytest.mark.parametrize("make", [near_ties.random_mul, near_ties.random_mean])
def test_a_scale_is_moved_by_few_steps_until_the_forms_agree_on_everything(make: object) -> None:
    for operation, _ in itertools.islice(parting(make, 10), 15):  # type: ignore[arg-type]
        found = one_arithmetic(alone(operation))
        (moved,) = found.graph.operations
        assert isinstance(moved, type(operation))
        values = moved.accumulators()
        np.testing.assert_array_equal(moved.rounded(values, "x86"), moved.rounded(values, "arm64"))
        assert found.tried == len(values) == len(operation.accumulators())
        (steps,) = found.moved.values()
        assert steps_between(operation.output.scale, moved.output.scale) == steps
        assert 0 < abs(steps) <= 32
        # Nothing else but near ties changes.
        differ = moved.rounded(values, "x86") != operation.rounded(values, "x86")
        assert np.count_nonzero(differ) < 0.05 * len(values)


def test_every_accumulator_is_among_those_tried() -> None:
    generator = np.random.default_rng(11)
    every = np.arange(-128, 128, dtype=np.int64)
    for _ in range(20):
        operation = near_ties.random_mul(generator)
        a, b = operation.inputs
        products = np.multiply.outer(every - a.zero_point, every - b.zero_point)
        np.testing.assert_array_equal(operation.accumulators(), np.unique(products))
    mean = near_ties.random_mean(generator)
    _, height, width, _ = mean.inputs[0].shape
    assert mean.accumulators()[0] == -128 * height * width
    assert mean.accumulators()[-1] == 127 * height * width
    assert len(mean.accumulators()) == 255 * height * width + 1


def test_a_constant_operand_has_its_own_products_only() -> None:
    x = activation("x", (1, 4), 0.25, 0)
    factors = constant("f", np.array([3, 5], np.int8).reshape(1, 2, 1), quantised(0.5, 1))
    operation = Mul(inputs=(x, factors), name="y", quantisation=quantised(0.5, 0))
    every = np.arange(-128, 128)
    np.testing.assert_array_equal(operation.accumulators(), np.unique([every * 2, every * 4]))


def network_around(product: TwoForms) -> Graph:
    """What reads the product: a reshape of it, a maximum with a constant, a convolution."""
    flat = constant("shape", np.array([1, 1, 256, 256], np.int32))
    reshaped = Reshape(
        inputs=(product.output, flat), name="reshaped", quantisation=product.quantisation
    )
    least = constant("least", np.array([-5], np.int8).reshape(1, 1, 1, 1), product.quantisation)
    largest = Maximum(
        inputs=(reshaped.output, least), name="largest", quantisation=product.quantisation
    )
    weights = constant("w", np.ones((2, 1, 1, 256), np.int8), Quantisation((0.5, 0.25), 0, 0))
    scale = product.output.scale
    bias = Tensor(
        "bias", (2,), "int32", Quantisation((0.5 * scale, 0.25 * scale), 0, 0),
        np.array([7, -9], np.int32),
    )  # fmt: skip
    convolved = Conv2D(
        inputs=(largest.output, weights, bias), name="convolved", quantisation=quantised(1.0, 0)
    )
    inputs = tuple(product.inputs)
    return Graph("net", inputs, (convolved.output,), (product, reshaped, largest, convolved))


def test_what_must_share_the_scale_moves_with_it_and_biases_follow() -> None:
    product = first_parting(near_ties.random_mul, 12)
    before = network_around(product)
    after = one_arithmetic(before).graph
    new = {tensor.name: tensor for tensor in after.tensors()}
    scale = new["y"].scale
    assert scale != product.output.scale
    for name in ("reshaped", "largest", "least"):
        assert new[name].quantisation == new["y"].quantisation
    assert new["bias"].quantisation == Quantisation((0.5 * scale, 0.25 * scale), 0, 0)
    assert new["bias"].data is not None
    assert new["bias"].data.tolist() == [7, -9]
    assert new["convolved"].quantisation == quantised(1.0, 0)
    assert [op.name for op in after.operations] == [op.name for op in before.operations]
    generator = np.random.default_rng(0)
    inputs = {
        tensor.name: generator.integers(-128, 128, (2, *tensor.shape[1:])).astype(np.int8)
        for tensor in after.inputs
    }
    x86 = run_reference(after, inputs, arithmetic="xnnpack", keep_all=True)
    arm64 = run_reference(after, inputs, arithmetic="xnnpack-arm64", keep_all=True)
    for name, values in x86.items():
        np.testing.assert_array_equal(arm64[name], values)


def test_two_that_share_a_scale_agree_together() -> None:
    first = first_parting(near_ties.random_mul, 13)
    a, b = (activation(f"{t.name}2", t.shape, t.scale * 1.5, t.zero_point) for t in first.inputs)
    second = Mul(inputs=(a, b), name="y2", quantisation=first.quantisation)
    both = Concatenation(
        inputs=(first.output, second.output), name="both", quantisation=first.quantisation, axis=1
    )
    graph = Graph("net", (*first.inputs, a, b), (both.output,), (first, second, both))
    found = one_arithmetic(graph)
    scales = {op.output.scale for op in found.graph.operations}
    assert len(scales) == 1
    assert scales != {first.output.scale}
    for operation in two_forms(found.graph):
        assert operation.disagreements(operation.accumulators()) == 0


def test_a_graph_without_differences_stays_as_it_is() -> None:
    graph = one_arithmetic(alone(first_parting(near_ties.random_mean, 16))).graph
    found = one_arithmetic(graph)
    assert found.moved == {}
    assert found.graph is graph


def test_a_scale_that_an_input_has_cannot_move() -> None:
    product = first_parting(near_ties.random_mul, 14)
    given = Tensor("given", product.output.shape, "int8", product.quantisation)
    both = Concatenation(
        inputs=(product.output, given), name="both", quantisation=product.quantisation, axis=1
    )
    graph = Graph("net", (*product.inputs, given), (both.output,), (product, both))
    with pytest.raises(ConversionError, match="given: an input's scale"):
        one_arithmetic(graph)


def test_rescaling_nothing_makes_nothing_new() -> None:
    graph = network_around(first_parting(near_ties.random_mul, 15))
    assert with_scales(graph, {}).operations == graph.operations


@pytest.mark.parametrize("name", bundled.names())
@pytest.mark.parametrize("form", ["fast", "exact"])
def test_the_bundled_networks_compute_the_same_on_both(name: str, form: str) -> None:
    checkpoint = load_checkpoint(bundled.resolve_run(name))
    graph = integer_graph(checkpoint, calibration_of(checkpoint), form)  # type: ignore[arg-type]
    found = one_arithmetic(graph)
    assert found.operations > 20
    assert found.tried > 400_000
    assert len(found.moved) <= 2
    for operation in two_forms(found.graph):
        assert operation.disagreements(operation.accumulators()) == 0
