"""Any bytes at all become a document or one `ModelFileError`; real files are read rightly."""

from __future__ import annotations

import os
import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as generated
from hostile_models import amplified, crowded, hostile_models
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import tiny_model

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile import reader, schema
from qlvit_edge.modelfile.document import Document, Tensor
from qlvit_edge.modelfile.macs import count_macs, is_counted
from qlvit_edge.modelfile.operators import require_allowed
from qlvit_edge.modelfile.reader import read_document

GOOD = tiny_model()
HOSTILE = hostile_models(GOOD)


def _document_or_error(content: bytes) -> Document | None:
    try:
        return read_document(content)
    except ModelFileError:
        return None


def test_operators_tensors_and_macs_are_read() -> None:
    document = read_document(GOOD)
    assert [op.name for op in document.operators] == [
        "QUANTIZE",
        "CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
    ]
    assert [op.version for op in document.operators] == [1, 3, 2, 4]
    assert [op.macs for op in document.operators] == [0, 8 * 8 * 3 * 3, 0, 3 * 3]
    assert document.macs == 585
    assert document.size == len(GOOD)
    assert document.description == "tiny test model"
    (image,), (logits,) = document.inputs, document.outputs
    assert (image.name, image.shape, image.dtype, image.nbytes) == (
        "image",
        (1, 8, 8, 3),
        "UINT8",
        192,
    )
    assert (logits.dtype, logits.scale, logits.zero_point) == ("INT8", 2.0, 0)
    kernel = next(t for t in document.tensors if t.name == "kernel")
    assert kernel.is_constant
    assert (kernel.axis, kernel.scales, kernel.scale) == (0, (1 / 64,) * 3, None)
    assert not image.is_constant


def test_float_file_is_read() -> None:
    document = read_document(tiny_model(floating=True))
    assert {t.dtype for t in document.tensors} == {"FLOAT32", "INT32"}
    assert all(t.scales == () for t in document.tensors)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_in_one_line(name: str) -> None:
    content, finding = HOSTILE[name]
    with pytest.raises(ModelFileError) as caught:
        require_allowed(read_document(content, subject="bad.tflite"), "bad.tflite")
    message = str(caught.value)
    assert message.startswith("bad.tflite: ")
    assert "\n" not in message
    assert re.search(finding, message)


@pytest.mark.parametrize("content", [amplified(), crowded()], ids=["operators", "graphs"])
def test_shared_tables_do_not_unfold_in_memory_or_time(content: bytes) -> None:
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(ModelFileError, match="unfolds"):
        read_document(content)
    elapsed = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000
    assert elapsed < 30


def _edited(edit: Callable[[Any], None]) -> Document:
    model = generated.ModelT.InitFromObj(generated.Model.GetRootAs(GOOD, 0))
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return read_document(bytes(builder.Output()))


def test_several_graphs_are_read_and_the_first_one_is_what_runs() -> None:
    def edit(model: Any) -> None:
        second = generated.ModelT.InitFromObj(generated.Model.GetRootAs(GOOD, 0)).subgraphs[0]
        second.name, second.outputs = b"body", second.inputs
        model.subgraphs.append(second)

    document = _edited(edit)
    assert [graph.name for graph in document.subgraphs] == ["main", "body"]
    assert len(document.operators) == 8
    assert document.macs == 585
    assert document.outputs[0].name == "logits"


def test_operator_codes_of_old_new_and_custom_writers() -> None:
    def edit(model: Any) -> None:
        old, recent, custom, none = model.operatorCodes
        old.builtinCode = 0  # before version 3a only the 8-bit field existed
        old.deprecatedBuiltinCode = generated.BuiltinOperator.LOGISTIC
        recent.deprecatedBuiltinCode = 127
        recent.builtinCode = generated.BuiltinOperator.RIGHT_SHIFT
        custom.builtinCode = custom.deprecatedBuiltinCode = generated.BuiltinOperator.CUSTOM
        custom.customCode = b"TFLite_Detection_PostProcess"
        none.customCode = b"not used by builtin operators"

    operators = _edited(edit).operators
    assert [op.name for op in operators] == ["LOGISTIC", "RIGHT_SHIFT", "CUSTOM", "FULLY_CONNECTED"]
    assert [op.custom_code for op in operators] == ["", "", "TFLite_Detection_PostProcess", ""]


def test_every_truncation_is_refused() -> None:
    for length in range(len(GOOD) - 8):
        with pytest.raises(ModelFileError):
            read_document(GOOD[:length])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_behind_the_identifier_never_escape(noise: bytes) -> None:
    _document_or_error(noise[:4].ljust(4, b"\0") + b"TFL3" + noise[4:])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 7)), min_size=1))
def test_flipped_bits_never_escape(flips: list[tuple[int, int]]) -> None:
    broken = bytearray(GOOD)
    for position, bit in flips:
        broken[position] ^= 1 << bit
    _document_or_error(bytes(broken))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) // 4 - 1), st.integers(0, 2**32 - 1))
def test_overwritten_words_never_escape(word: int, value: int) -> None:
    broken = GOOD[: 4 * word] + value.to_bytes(4, "little") + GOOD[4 * word + 4 :]
    _document_or_error(broken)


def test_missing_folder_pipe_and_large_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        read_document(tmp_path / "none.tflite")
    with pytest.raises(ModelFileError, match="not a file"):
        read_document(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="not a file"):
        read_document(tmp_path / "pipe")
    model = tmp_path / "model.tflite"
    model.write_bytes(GOOD)
    assert read_document(model).macs == 585
    monkeypatch.setattr(reader, "MAX_FILE_BYTES", 100)
    with pytest.raises(ModelFileError, match="at most 100 bytes"):
        read_document(model)
    with pytest.raises(ModelFileError, match="more than 100 bytes"):
        read_document(GOOD)


def test_names_agree_with_the_published_schema() -> None:
    operators = vars(generated.BuiltinOperator)
    assert {
        name: number for number, name in enumerate(schema.BUILTIN_OPERATORS)
    }.items() <= operators.items()
    types = vars(generated.TensorType)
    assert all(types[name] == code for code, (name, _) in schema.TENSOR_TYPES.items())
    assert schema.BUILTIN_OPERATORS[generated.BuiltinOperator.BATCH_MATMUL] == "BATCH_MATMUL"


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "adjoint", "expected"),
    [
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 6), (1, 3, 3, 6)], [(1, 4, 4, 6)], False, 4 * 4 * 6 * 9),
        ("BATCH_MATMUL", [(2, 5, 7), (2, 7, 3)], [(2, 5, 3)], False, 2 * 5 * 7 * 3),
        ("BATCH_MATMUL", [(2, 7, 5), (2, 7, 3)], [(2, 5, 3)], True, 2 * 5 * 7 * 3),
        ("TRANSPOSE_CONV", [(4,), (6, 2, 2, 3), (1, 4, 4, 3)], [(1, 8, 8, 6)], False, 48 * 24),
        ("FULLY_CONNECTED", [(9, 4), (5, 4)], [(9, 5)], False, 180),
        ("CONV_2D", [(1, 8, 8, 3), (3,)], [(1, 8, 8, 3)], False, 0),
        ("ADD", [(4, 4), (4, 4)], [(4, 4)], False, 0),
    ],
)
def test_multiply_accumulates(
    name: str,
    inputs: list[tuple[int, ...]],
    outputs: list[tuple[int, ...]],
    adjoint: bool,
    expected: int,
) -> None:
    reads, makes = ([_tensor(shape) for shape in shapes] for shapes in (inputs, outputs))
    assert count_macs(name, reads, makes, adjoint_x=adjoint) == expected


def _tensor(shape: tuple[int, ...], *, variable: bool = False) -> Tensor:
    return Tensor("t", shape, "INT8", (), (), None, False, variable, 0)


SEQUENCE = [(7, 1, 10), *[(6, 10)] * 4, *[(6, 4)] * 4, *[(6,)] * 3, *[(6,)] * 4, (4, 6)]
"""Of an LSTM with 10 inputs, 6 cells and 4 outputs that runs 7 steps: all of its weights."""


@pytest.mark.parametrize(
    ("name", "inputs", "states", "expected"),
    [
        ("SVDF", [(2, 8), (6, 8), (6, 3), (6,)], [(2, 18)], 2 * 6 * (8 + 3)),
        ("RNN", [(2, 8), (5, 8), (5, 5), (5,)], [(2, 5)], 2 * 5 * (8 + 5)),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", [(3, 1, 8), (5, 8), (5, 5), (5,)], [(1, 5)], 3 * 65),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", SEQUENCE, [(1, 4), (1, 6)], 7 * (240 + 96 + 24)),
        ("LSTM", [(1, 8), (1, 4), (16, 12), (16,), (1, 4)], [], 16 * 12),
    ],
)
def test_recurrent_operators_multiply_with_each_matrix_at_each_step(
    name: str, inputs: list[tuple[int, ...]], states: list[tuple[int, ...]], expected: int
) -> None:
    reads = [*map(_tensor, inputs), *(_tensor(shape, variable=True) for shape in states)]
    assert count_macs(name, reads, [_tensor((1, 4))]) == expected


def test_convolutions_over_volumes_are_counted() -> None:
    reads = [_tensor((1, 4, 4, 4, 2)), _tensor((3, 3, 3, 2, 5))]
    assert count_macs("CONV_3D", reads, [_tensor((1, 4, 4, 4, 5))]) == 64 * 5 * 27 * 2


@pytest.mark.parametrize("name", ["WHILE", "STABLEHLO_DOT_GENERAL", "CUSTOM", "UNKNOWN_250"])
def test_what_may_multiply_and_is_not_counted_is_known(name: str) -> None:
    assert not is_counted(name)


def test_what_multiplies_nothing_counts_as_nothing() -> None:
    assert is_counted("RELU")
    assert count_macs("RELU", [_tensor((4, 4))], [_tensor((4, 4))]) == 0
