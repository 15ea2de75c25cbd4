"""The documented rules of the Edge TPU, one operator at a time and over whole files."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from qlvit_edge.bundled import resolve_model
from qlvit_edge.cli.inspect import command
from qlvit_edge.modelfile.document import Document, Operator, Subgraph, Tensor
from qlvit_edge.modelfile.edgetpu import limitation, remark
from qlvit_edge.modelfile.edgetpu_forecast import ANOTHER_PARTITION, forecast
from qlvit_edge.modelfile.edgetpu_report import report_forecast
from qlvit_edge.modelfile.reader import read_document


def _tensor(*shape: int, dtype: str = "INT8", constant: bool = False) -> Tensor:
    return Tensor("t", shape, dtype, (0.5,), (0,), None, constant, False, 4)


def _axes(*values: int) -> Tensor:
    return Tensor("axes", (len(values),), "INT32", (), (), None, True, False, 4, values)


def _operator(name: str, macs: int = 0, **options: int) -> Operator:
    return Operator(name, 1, (), (), "", macs, options)


MAP = _tensor(1, 8, 8, 4)
KERNEL = _tensor(6, 3, 3, 4, constant=True)
BIAS = Tensor("bias", (6,), "INT32", (0.1,) * 6, (0,) * 6, 0, True, False, 24)


@pytest.mark.parametrize(
    ("operator", "inputs", "reason"),
    [
        (_operator("CONV_2D", dilation_w=1, dilation_h=1), [MAP, KERNEL, BIAS], None),
        (_operator("CONV_2D", dilation_w=1, dilation_h=8), [MAP, KERNEL, BIAS], "dilation"),
        (_operator("CONV_2D"), [MAP, _tensor(6, 3, 3, 4), BIAS], "not constant"),
        (_operator("CONV_2D"), [MAP, _tensor(6, 3, 3, 2, constant=True), BIAS], "groups"),
        (_operator("ADD"), [MAP, MAP], None),
        (_operator("ADD"), [_tensor(2, 8, 8, 4), MAP], "three innermost"),
        (_operator("ADD"), [_tensor(1, 8, dtype="INT32"), MAP], "INT32"),
        (_operator("MUL"), [_tensor(1, 8, dtype="FLOAT32"), MAP], "FLOAT32"),
        (_operator("EXP"), [MAP], "not supported"),
        (_operator("GATHER"), [MAP, _axes(1)], "not supported"),
        (_operator("CAST"), [MAP], "not supported"),
        (_operator("BATCH_MATMUL"), [MAP, MAP], "not supported"),
        (_operator("HARD_SWISH"), [MAP], "not supported"),
        (_operator("BITCAST"), [MAP], "not supported"),
        (_operator("PADV2"), [MAP], "not supported"),
        (_operator("TRANSPOSE"), [MAP, _axes(0, 2, 1, 3)], None),
        (_operator("TRANSPOSE"), [MAP, _tensor(4, dtype="INT32")], "INT32"),
        (_operator("TRANSPOSE"), [_tensor(4, 8, 8, 1), _axes(3, 1, 2, 0)], "three innermost"),
        (_operator("TILE"), [MAP, _axes(1, 2, 2, 1)], None),
        (_operator("TILE"), [MAP, _axes(2, 1, 1, 1)], "batch"),
        (_operator("TILE"), [MAP, _tensor(4, dtype="INT32", constant=True)], "not known"),
        (_operator("MEAN"), [MAP, _axes(1, 2)], None),
        (_operator("MEAN"), [MAP, _axes(0)], "batch"),
        (_operator("MEAN"), [MAP, _axes(-4)], "batch"),
        (_operator("MEAN"), [_tensor(1, 8, 8, 6), _axes(3)], "multiple of 4"),
        (_operator("MEAN"), [_tensor(1, 8, 8, 8), _axes(-1)], None),
        (_operator("MEAN"), [MAP, _tensor(2, dtype="INT32")], "8-bit"),
        (_operator("REDUCE_MAX"), [MAP, _axes(0)], "batch"),
        (_operator("PAD"), [MAP, _axes(0, 0, 1, 1, 1, 1, 0, 0)], None),
        (_operator("PAD"), [MAP, _axes(1, 0, 0, 0, 0, 0, 0, 0)], "batch"),
        (_operator("MAX_POOL_2D", fused_activation=1), [MAP], "fused"),
        (_operator("MAX_POOL_2D", fused_activation=0), [MAP], None),
        (_operator("CONCATENATION", axis=3), [MAP, MAP], None),
        (_operator("CONCATENATION", axis=0), [MAP, MAP], "batch"),
        (_operator("CONCATENATION", axis=3, fused_activation=1), [MAP, MAP], "fused"),
        (_operator("CONCATENATION", axis=3), [MAP, KERNEL], "constant"),
        (_operator("SOFTMAX"), [_tensor(1, 1000)], None),
        (_operator("SOFTMAX"), [_tensor(1, 16_384)], None),
        (_operator("SOFTMAX"), [_tensor(1, 16_385)], "16385"),
        (_operator("SOFTMAX"), [_tensor(1, 8, 8)], "more than one dimension"),
        (_operator("STRIDED_SLICE"), [MAP, _axes(0), _axes(1), _axes(1)], None),
        (_operator("STRIDED_SLICE"), [MAP, _axes(0), _axes(1), _axes(2)], "strides"),
        (_operator("SPLIT"), [_axes(0), MAP], "batch"),
        (_operator("SPLIT"), [_axes(-4), MAP], "batch"),
        (_operator("SPLIT"), [_axes(-1), MAP], None),
        (_operator("SPLIT"), [_axes(3), MAP], None),
        (_operator("PACK", axis=0), [_tensor(8), _tensor(8)], "batch"),
        (_operator("PACK", axis=-2), [_tensor(8), _tensor(8)], "batch"),
        (_operator("PACK", axis=-1), [_tensor(8), _tensor(8)], None),
        (_operator("FULLY_CONNECTED", weights_format=1), [_tensor(1, 4), KERNEL, BIAS], "format"),
    ],
)
def test_rule(operator: Operator, inputs: list[Tensor], reason: str | None) -> None:
    found = limitation(operator, inputs, [_tensor(1, 8)])
    assert (found is None) == (reason is None), found
    assert reason is None or reason in str(found)


@pytest.mark.parametrize(
    ("name", "before", "after", "reason"),
    [
        ("SQUEEZE", (1, 1, 1, 1001), (1, 1001), None),
        ("SQUEEZE", (1, 1, 1, 1001), (1001,), None),
        ("SQUEEZE", (1, 1, 5, 10), (1, 5, 10), None),
        ("SQUEEZE", (1, 1, 1, 10), (1, 10), None),
        ("SQUEEZE", (1, 5, 1, 10), (1, 5, 10), "leading"),
        ("SQUEEZE", (5, 1, 10), (5, 10), "leading"),
        ("SQUEEZE", (1, 5, 10, 1), (1, 5, 10), "leading"),
        ("RESIZE_BILINEAR", (1, 1, 1, 8), (1, 33, 33, 8), "33-fold"),
        ("RESIZE_BILINEAR", (1, 33, 33, 8), (1, 513, 513, 8), "15.5-fold"),
        ("RESIZE_BILINEAR", (1, 4, 4, 8), (1, 4, 64, 8), "16-fold"),
        ("RESIZE_BILINEAR", (1, 64, 64, 8), (1, 128, 128, 8), None),
        ("RESIZE_BILINEAR", (1, 64, 64, 8), (1, 8, 8, 8), None),
    ],
)
def test_rule_on_shapes(
    name: str, before: tuple[int, ...], after: tuple[int, ...], reason: str | None
) -> None:
    size = [_axes(*after[1:3])] if name == "RESIZE_BILINEAR" else []
    found = limitation(_operator(name), [_tensor(*before), *size], [_tensor(*after)])
    assert (found is None) == (reason is None), found
    assert reason is None or reason in str(found)


def test_a_unidirectional_lstm_is_documented_with_its_16_bit_state() -> None:
    weights = [_tensor(4, 4, constant=True)] * 8
    state = Tensor("cell", (1, 4), "INT16", (0.1,), (0,), None, False, True, 8)
    inputs = [_tensor(1, 28, 4), *weights, None, None, None, *[BIAS] * 4, None, None]
    operator = _operator("UNIDIRECTIONAL_SEQUENCE_LSTM")
    ends = [_tensor(1, 28, 4)]
    assert limitation(operator, [*inputs, state, state], ends) is None
    inputs[2] = _tensor(4, 4)
    assert "not constant" in str(limitation(operator, [*inputs, state, state], ends))


@pytest.mark.parametrize(
    ("operator", "before", "after", "doubt"),
    [
        ("TRANSPOSE", (1, 8, 4), (1, 4, 8), "logs of compiler 16"),
        ("TILE", (1, 8, 4), (1, 8, 8), "not in the documents"),
        ("SOFTMAX", (1, 16_384), (1, 16_384), "documented up to 16000"),
        ("SOFTMAX", (1, 16_000), (1, 16_000), None),
        ("RESIZE_BILINEAR", (1, 8, 8, 4), (1, 32, 32, 4), "doubles"),
        ("RESIZE_BILINEAR", (1, 8, 8, 4), (1, 16, 16, 4), None),
        ("ADD", (1, 8, 8, 4), (1, 8, 8, 4), None),
    ],
)
def test_where_documents_and_compiler_disagree_a_remark_says_so(
    operator: str, before: tuple[int, ...], after: tuple[int, ...], doubt: str | None
) -> None:
    found = remark(_operator(operator), [_tensor(*before)], [_tensor(*after)])
    assert (found is None) == (doubt is None)
    assert doubt is None or doubt in str(found)


def test_a_matrix_is_no_output_of_a_fully_connected_layer() -> None:
    found = limitation(_operator("FULLY_CONNECTED"), [MAP, KERNEL, BIAS], [_tensor(8, 8)])
    assert found == "output of more than one dimension"


def test_what_needs_an_unmapped_operator_in_the_middle_is_left_to_the_cpu() -> None:
    tensors = tuple(_tensor(1, 8) for _ in range(5))
    names = ("ADD", "LOGISTIC", "EXP", "ADD")
    operators = tuple(Operator(n, 1, (i,), (i + 1,), "", 10, {}) for i, n in enumerate(names))
    graph = Subgraph("g", tensors, operators, (0,), (4,))
    found = forecast(Document(1, 3, "", (graph,), {}))
    assert found.partition == 2
    assert [found.status(i) for i in range(4)] == [
        "mapped",
        "mapped",
        "CPU: operator not supported",
        f"CPU: {ANOTHER_PARTITION}",
    ]
    summary = report_forecast(found)
    assert summary.monolithic.share == 0.5
    assert summary.mapped.share == 0.75
    assert summary.monolithic.first_on_cpu == "EXP"


def test_the_reader_keeps_the_options_that_decide() -> None:
    document = read_document(resolve_model("blood-nano"))
    convolutions = [op for op in document.operators if op.name == "CONV_2D"]
    assert {"fused_activation", "dilation_w", "dilation_h"} <= set(convolutions[0].options)
    means = [op for op in document.operators if op.name == "MEAN"]
    assert document.subgraphs[0].tensors[means[0].inputs[1]].values == (1, 2)


def test_inspect_forecasts_the_bundled_model() -> None:
    result = CliRunner().invoke(command, ["blood-nano", "--edgetpu"], catch_exceptions=False)
    assert result.exit_code == 0
    for text in ("BATCH_MATMUL", "operator not supported", "a forecast", "MiB"):
        assert text in result.output


def test_inspect_forecast_as_json() -> None:
    result = CliRunner().invoke(command, ["blood-nano", "--edgetpu", "--json"])
    found = json.loads(result.output)
    assert found["monolithic"]["share"] <= found["mapped"]["share"] < 1
    assert len(found["operators"]) == sum(kind["count"] for kind in found["kinds"])
    assert found["parameter_bytes"] < found["parameter_room_bytes"][0]
