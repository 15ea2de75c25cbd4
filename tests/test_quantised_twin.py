"""What is trained as integers: forward the integer graph, backward the network's derivative."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import configs, observed, random_network, random_views
from small_run import small_config

from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.lower.constants import real
from qlvit_edge.converters.lower.traced import Traced, derivative_of, tracing
from qlvit_edge.converters.ops.activation import Elu
from qlvit_edge.converters.ops.shape import Pad, Reshape, Transpose
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.quantised.meanings import meaning
from qlvit_edge.quantised.ranges import TrainedRanges
from qlvit_edge.quantised.student import Student, held_values
from qlvit_edge.quantised.twin import followed_graph, run_twin, straight_through

FORMS: st.SearchStrategy[Form] = st.sampled_from(["fast", "exact"])


@lru_cache
def student_of(config: NetworkConfig, seed: int, form: Form) -> Student:
    network = random_network(config, seed)
    return Student(network, TrainedRanges(*observed(network, seed)), form)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(configs(), st.integers(0, 2**31), FORMS)
def test_forward_is_the_integer_graph_itself(config: NetworkConfig, seed: int, form: Form) -> None:
    """To the last bit of every logit, in any member of the family; and all of it is trained."""
    _forward_is_the_integer_graph(config, seed, form)


def _forward_is_the_integer_graph(config: NetworkConfig, seed: int, form: Form) -> None:
    student = student_of(config, seed, form)
    views = random_views(config, seed + 1, 4)
    scales = ScaleTable(student.ranges.table(), student.ranges.anchors)
    graph = lower(student.network, Writer("net", Int8(scales, form)))
    stored = run_reference(graph, {"image": views}, arithmetic="xnnpack")
    logits = student(views)
    expected = graph.outputs[0].real(stored["logits"])
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-6, atol=0)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("variant", ["mvitv2", "v2"])
def test_forward_is_the_integer_graph_with_attention_over_keys(variant: str) -> None:
    config = small_config(variant=variant, norm="batch", input_size=(32, 64))
    _forward_is_the_integer_graph(config, 2, "fast")


def test_forward_is_what_the_kernels_answer() -> None:
    student = student_of(small_config(), 3, "fast")
    views = random_views(small_config(), 4, 4)
    graph = student.integer_graph()
    interpreter = Interpreter(write_tflite(graph))
    stored = np.stack([interpreter.invoke(view)[0] for view in views])
    logits = student(views).detach().numpy()
    np.testing.assert_allclose(logits, graph.outputs[0].real(stored), rtol=1e-6, atol=0)


def _without_rounding(network: QLViT) -> QLViT:
    for module in network.modules():
        if isinstance(module, UniformQuantiser):
            module.enabled = False
        if hasattr(module, "softmax_form"):
            module.softmax_form = "float"
    return network


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"variant": "v3", "channels": 1, "kv_pool": (2, 2, 1, 1)},
        {"norm": "layer", "kan_basis": "cubic"},
        {"norm": "layer", "variant": "v3"},
        {"variant": "v2", "norm": "batch", "input_size": (32, 64)},
    ],
)
def test_the_twin_has_the_derivative_of_the_network(changes: dict[str, object]) -> None:
    """Where nothing is rounded: through every folding of norms, means, kernels and grids."""
    config = small_config(**changes)
    network = _without_rounding(random_network(config, 1))
    views = random_views(config, 2, 4)
    images = torch.from_numpy(views).float()
    weights = torch.randn(4, config.classes, generator=torch.Generator().manual_seed(5))
    found, expected = [], []
    for gradients, forward in (
        (found, lambda: run_twin(*followed_graph(network, "float"), images, {})["logits"]),
        (expected, lambda: network(images.permute(0, 3, 1, 2))),
    ):
        network.zero_grad()
        (forward() * weights).sum().backward()
        gradients.extend(parameter.grad.clone() for parameter in network.parameters())
    largest = max(float(gradient.norm()) for gradient in expected)
    for (name, _), one, other in zip(network.named_parameters(), found, expected, strict=True):
        # A softmax does not see the offset of its values: both are noise about zero there.
        assert float((one - other).norm()) < 2e-3 * float(other.norm()) + 1e-5 * largest, name


def test_what_is_beyond_a_range_moves_its_end_and_nothing_else() -> None:
    """By hand, of a range from -1 to 1.55 in steps of 0.01."""
    value = torch.tensor([-2.0, -1.0, 0.104, 1.55, 3.0], requires_grad=True)
    held = torch.tensor([-1.0, -1.0, 0.10, 1.55, 1.55])
    ends = torch.tensor([-1.0, 1.55], dtype=torch.float64, requires_grad=True)
    out = straight_through(value, held, ends)
    assert torch.equal(out, held)
    out.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]))
    assert value.grad is not None
    assert value.grad.tolist() == [0.0, 10.0, 100.0, 1000.0, 0.0]
    rounding = 100 * (0.10 - 0.104) / 2.55
    assert ends.grad is not None
    np.testing.assert_allclose(ends.grad.numpy(), [1.0 - rounding, 10000.0 + rounding], rtol=1e-5)


def test_the_twin_goes_on_with_what_a_device_holds() -> None:
    """Every int8 tensor outside a softmax that the twin has too, but for what is only moved."""
    student = student_of(small_config(), 3, "fast")
    views = random_views(small_config(), 7, 2)
    integers = student.integer_graph()
    stored = run_reference(integers, {"image": views}, arithmetic="xnnpack", keep_all=True)
    twin, _ = followed_graph(student.network)
    held = held_values(integers, stored, twin, student.ranges.ends(), torch.device("cpu"))
    inside = ("pi/", "softmax_v/", "pi", "softmax_v")
    moves = (Pad, Reshape, Transpose)
    missing = [
        operation.name
        for operation in twin.operations
        if operation.name not in held
        and not isinstance(operation, moves)
        and not any(part in operation.name for part in inside)
        # Integers mix kernels, not maps; a ramp and a maximum have no tensors between; the product
        # of keys and values is stored as a multiple, under a name of its own.
        and not any(
            part in operation.name for part in ("kernel", "ramps", "skip_pool", "key_value")
        )
    ]
    assert missing == []
    extents = {name: one.ends.detach() for name, one in held.items()}
    tensors = {t.quantity: t for t in integers.tensors() if t.name in stored}
    for name, one in held.items():
        low, high = extents[name]
        assert one.values.min() >= low - 1e-2 * (high - low)
        assert one.values.max() <= high + 1e-2 * (high - low)
        assert one.values.shape[1:] == tensors[name].shape[1:]
    # Hard-swish is held six times as large.
    name = "block0/activation"
    expected = tensors[name].real(stored[f"{name}/sixfold"]) / 6
    np.testing.assert_allclose(held[name].values.numpy(), expected, rtol=1e-5)


def test_ranges_are_lowered_with_as_they_are_trained() -> None:
    ranges = TrainedRanges({"a": (-1.0, 3.0), "b": (0.5, 2.0)}, {"s": 3})
    assert ranges.range("a") == (-1.0, 3.0)
    assert ranges.range("b") == (0.0, 2.0)  # zero is in every range
    assert ranges.anchor("s") == 3
    with torch.no_grad():
        ranges.moved[0] = torch.tensor([0.5, -0.25])
    ranges.keep_zero_inside()
    assert ranges.range("a") == ranges.table()["a"] == (0.0, 2.0)
    with torch.no_grad():
        ranges.moved[0] = torch.tensor([0.25, -0.745])
    ranges.keep_zero_inside()
    low, high = ranges.range("a")
    assert (low, high) == pytest.approx((0.0, 0.4))  # a tenth of the width is kept


def test_a_folding_without_a_derivative_is_refused_by_name() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 3))
    assert derivative_of(real(weight)) is None
    with tracing():
        followed = real(weight)
        assert isinstance(followed, Traced)
        folded = (followed * np.array([1.0, 2.0, 3.0]) + 1)[:, None].sum(2).T
        expression = derivative_of(folded)
        assert expression is not None
        expression.sum().backward()
        assert weight.grad is not None
        assert weight.grad.tolist() == [[1.0, 2.0, 3.0]] * 2
        for refused in (
            lambda: np.exp(followed),
            lambda: np.add.reduce(followed),
            lambda: np.repeat(followed, 2),
            lambda: followed.sum(0, keepdims=True),
            lambda: derivative_of(followed.swapaxes(0, 1)),
        ):
            with pytest.raises(ConversionError, match="has no derivative here"):
                refused()


def test_an_operation_without_a_meaning_is_refused_by_name() -> None:
    graph = student_of(small_config(), 3, "fast").integer_graph()
    elu = next(operation for operation in graph.operations if isinstance(operation, Elu))
    with pytest.raises(ConversionError, match=f"^{elu.name}: Elu: has no derivative"):
        meaning(elu, [])


def test_statistics_stay_while_it_is_trained() -> None:
    student = student_of(small_config(), 3, "fast").train()
    network = student.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    student(random_views(small_config(), 1, 2)).sum().backward()
    assert not any(module.training for module in student.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
