"""The lowering for the Edge TPU: its operators, the native graph's meaning, exact integers."""

from __future__ import annotations

import numpy as np
import pytest
from mini_chain import edgetpu_graph
from mini_network import calibrated, images

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.arithmetic import mean_hw
from qlvit_edge.converters.idioms.convolutions import dense
from qlvit_edge.converters.idioms.dynamic import dynamic_depthwise
from qlvit_edge.converters.idioms.image import input_image
from qlvit_edge.converters.idioms.numerics import EdgeTpu
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.softmax import joined, log2_softmax
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.proof.equality import Specification, compare_tensors
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.modelfile.edgetpu_forecast import forecast
from qlvit_edge.modelfile.reader import read_document

# What softmax and the two products of attention need, and nothing else.
LEFT_TO_THE_CPU = {
    "ADD",
    "BATCH_MATMUL",
    "CAST",
    "EXP",
    "GATHER",
    "RIGHT_SHIFT",
    "SUM",
    "TRANSPOSE",
}


@pytest.mark.parametrize("arithmetic", ["xnnpack", "reference"])
@pytest.mark.parametrize("form", ["fast", "exact"])
def test_every_tensor_equals_its_specification(form: Form, arithmetic: Specification) -> None:
    graph, batch = edgetpu_graph(form), images(3, seed=1)
    found = compare_tensors(graph, write_tflite(graph), batch, arithmetic)
    assert found.unequal == {}
    assert found.tensors > 100


def test_only_softmax_and_attention_break_a_rule() -> None:
    found = forecast(read_document(write_tflite(edgetpu_graph())))
    broken = {
        (operator.name, reason)
        for operator, reason in zip(found.operators, found.reasons, strict=True)
        if reason is not None
    }
    assert {name for name, _ in broken} <= LEFT_TO_THE_CPU
    assert all("INT32" in reason for name, reason in broken if name == "ADD")
    products = sum(op.macs for op in found.operators if op.name == "BATCH_MATMUL")
    assert found.macs(partition=False) + products == found.total_macs


def test_it_means_what_the_native_graph_means() -> None:
    batch = images(4)
    floating, native, observed = calibrated("fast", batch)
    edge = edgetpu_graph()
    truth = observed["logits"]

    def error(graph: object) -> float:
        stored = run_reference(graph, {"image": batch})["logits"]  # type: ignore[arg-type]
        real = graph.outputs[0].real(stored)  # type: ignore[attr-defined]
        return float(np.sqrt(((real - truth) ** 2).mean()) / truth.std())

    assert floating.outputs[0].name == "logits"
    assert error(edge) < max(2 * error(native), 0.3)


def test_pooling_equals_padding_that_never_wins() -> None:
    batch = images(2, seed=3)
    edge = edgetpu_graph()
    kept = run_reference(edge, {"image": batch}, keep_all=True)
    source, pooled = kept["block0/out"], kept["pool"]
    padded = np.pad(source, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-128)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    assert np.array_equal(pooled, windows.max((4, 5)))


def test_the_image_is_quantised_not_cast_bit_by_bit() -> None:
    names = [op.encoding().builtin for op in edgetpu_graph().operations]
    assert names[0] == "QUANTIZE"
    assert not {"BITCAST", "BITWISE_XOR", "PADV2", "HARD_SWISH"} & set(names)


def test_a_dynamic_convolution_of_one_kernel_is_refused() -> None:
    writer = Writer("one", EdgeTpu(ScaleTable({"d/kernel0": (-1, 1)}, {"pi": 0})))
    image = input_image(writer, 8, 8)
    weight = np.ones((1, 3, 3, 3))
    z = dense(
        writer,
        mean_hw(writer, image, name="m", fixed_range=(0, 255)),
        np.ones((1, 3)),
        name="z",
        fixed_range=(0, 1),
    )
    shares = log2_softmax(writer, z, 3, name="pi")
    with pytest.raises(ConversionError, match="two or more"):
        dynamic_depthwise(writer, image, shares, weight, np.zeros((1, 3)), name="d")


@pytest.mark.parametrize("count", range(2, 10))
def test_any_number_of_kernels_from_two_on_is_mixed(count: int) -> None:
    """Equal shares of kernels that average: every kernel counts, however they are paired."""
    scales = ScaleTable(
        {**{f"d/kernel{k}": (0.0, 255.0 * (k + 1)) for k in range(count)}, "d/mixed": (0, 2560)},
        {"pi": 0},
    )
    writer = Writer("many", EdgeTpu(scales))
    image = input_image(writer, 8, 8)
    mean = mean_hw(writer, image, name="m", fixed_range=(0, 255))
    z = dense(writer, mean, np.zeros((count, 3)), name="z", fixed_range=(0, 1))
    kernels = np.ones((count, 3, 3, 3)) / 9 * np.arange(1, count + 1)[:, None, None, None]
    shares = log2_softmax(writer, z, 3, name="pi")
    out = dynamic_depthwise(writer, image, shares, kernels, np.zeros((count, 3)), name="d")
    writer.output(out)
    graph = writer.build()
    view = np.full((1, 8, 8, 3), 200, np.uint8)
    kept = run_reference(graph, {"image": view}, keep_all=True)
    share = 2.0 ** -np.floor(np.log2(count) + 0.5)
    wanted = 200 * share * sum(range(1, count + 1))
    np.testing.assert_allclose(out.real(kept[out.name]), wanted, rtol=0.03, atol=15)
    assert all(forecast(read_document(write_tflite(graph))).sure)


def _tensor(*shape: int, scale: float = 1.0) -> Tensor:
    return Tensor(f"t{shape}{scale}", shape, "int8", Quantisation((scale,), 0))


@pytest.mark.parametrize(
    ("tensors", "axis", "finding"),
    [
        ((_tensor(1, 2, 3), _tensor(1, 2, 3, scale=2.0)), 2, "differs in scale"),
        ((_tensor(1, 2, 3), _tensor(1, 3, 3)), 2, "beside"),
        ((_tensor(1, 2, 3), _tensor(1, 2, 4)), 0, "axis 0"),
        ((_tensor(1, 2, 3), _tensor(1, 2, 4)), 3, "axis 3"),
    ],
)
def test_what_does_not_join_is_refused(
    tensors: tuple[Tensor, ...], axis: int, finding: str
) -> None:
    with pytest.raises(ConversionError, match=finding):
        Concatenation(inputs=tensors, name="j", quantisation=tensors[0].quantisation, axis=axis)


def test_shares_are_powers_of_two_made_on_the_edge_tpu() -> None:
    writer = Writer("shares", EdgeTpu(ScaleTable()))
    z = Tensor("z", (1, 1, 1, 4), "int8", Quantisation((0.05,), 0))
    writer.input(z)
    shares = joined(writer, log2_softmax(writer, z, 3, name="pi"))
    writer.output(shares)
    graph = writer.build()
    stored = np.random.default_rng(0).integers(-128, 128, (2000, 1, 1, 4)).astype(np.int8)
    found = shares.real(run_reference(graph, {"z": stored})["pi"])
    real = np.exp(0.05 * stored.astype(np.float64))
    real /= real.sum(axis=3, keepdims=True)
    exponent = -np.log2(real)
    rounded = np.minimum(2.0 ** -np.floor(exponent + 0.5), 255 / 256)
    # SOFTMAX's steps blur the thresholds by half a step; what is below them all is nothing.
    clear = (np.abs(exponent % 1 - 0.5) > 0.06) & (real > 1 / 16)
    assert np.abs(found - rounded)[clear].max() <= 1 / 256
    assert clear.mean() > 0.3
    assert len(np.unique(found)) == 9
    found_mapped = forecast(read_document(write_tflite(graph)))
    assert found_mapped.partition == len(found_mapped.operators)
