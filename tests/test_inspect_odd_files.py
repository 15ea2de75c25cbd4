"""What a runtime loads, `inspect` lists with a warning; what it counts, it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chain_mutations import ChainMutator
from command import run_command
from fuzz_inspect import FORMS, inspect
from mutations import Mutator
from operator_file import operator_file
from tiny_model import tiny_model

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference import kernels_in_words
from qlvit_edge.modelfile.operators import require_allowed
from qlvit_edge.modelfile.reader import read_document

Edit = Callable[[Any], None]


def edited(edit: Edit) -> bytes:
    """The tiny model, changed as an object tree."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    model = s.ModelT.InitFromObj(s.Model.GetRootAs(tiny_model(), 0))
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def tensor(model: Any, name: str) -> Any:
    return next(t for t in model.subgraphs[0].tensors if t.name == name.encode())


def _axis_outside(model: Any) -> None:
    tensor(model, "bias").quantization.quantizedDimension = 3


def _scales_too_few(model: Any) -> None:
    details = tensor(model, "kernel").quantization
    details.scale, details.zeroPoint = np.ones(2, np.float32), np.zeros(2, np.int64)


def _values_in_buffer_0(model: Any) -> None:
    model.buffers[0].data = np.ones(9, np.uint8)


def _more_values_than_needed(model: Any) -> None:
    buffer = model.buffers[tensor(model, "dense").buffer]
    buffer.data = np.concatenate([buffer.data, np.zeros(5, np.uint8)])


def _name_in_no_encoding(model: Any) -> None:
    tensor(model, "mixed").name = b"\xff\xfe"


@pytest.mark.parametrize(
    ("edit", "warning"),
    [
        (_axis_outside, "tensor 'bias': 3 scales do not fit axis 3"),
        (_scales_too_few, "tensor 'kernel': 2 scales do not fit axis 0"),
        (_values_in_buffer_0, "its buffer 0 holds 9 bytes"),
        (_more_values_than_needed, "tensor 'dense' needs 9 bytes, its buffer holds 14"),
    ],
)
def test_odd_files_are_listed_with_a_warning(
    edit: Edit, warning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.tflite").write_bytes(edited(edit))
    assert run_command("inspect", tmp_path / "odd.tflite") == 0
    said = capsys.readouterr().out
    assert f"! {warning}" in said
    assert "585 per inference" in said
    assert run_command("inspect", tmp_path / "odd.tflite", "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any(warning in line for line in warnings)


def test_a_file_without_a_list_of_buffers_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    content = operator_file(
        {"in": ("INT8", (1, 4)), "out": ("INT8", (1, 4))},
        [("LOGISTIC", ["in"], ["out"])],
        ["in"],
        ["out"],
    )
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(content, 0))
    model.buffers = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "m.tflite").write_bytes(bytes(builder.Output()))
    assert run_command("inspect", tmp_path / "m.tflite") == 0
    assert "! it has no list of buffers" in capsys.readouterr().out


def test_what_does_not_fit_is_listed_and_not_run() -> None:
    document = read_document(edited(_axis_outside))
    with pytest.raises(ModelFileError, match="do not fit axis 3"):
        require_allowed(document, "model")


def test_buffer_0_holds_no_constant() -> None:
    """As in the runtime: or a file could show other weights than those that run."""
    document = read_document(edited(_values_in_buffer_0))
    constants = {t.name for t in document.tensors if t.is_constant}
    assert constants == {"kernel", "bias", "axes", "dense", "offset"}


def test_a_name_that_stops_the_runtimes_python_does_not_stop_inspect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.tflite").write_bytes(edited(_name_in_no_encoding))
    assert run_command("inspect", tmp_path / "m.tflite") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "kernels     not known (" in captured.out


def test_products_that_are_not_counted_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = ("FLOAT32", (1, 4))
    content = operator_file(
        {"in": vector, "between": vector, "out": vector},
        [("custom:own", ["in"], ["between"]), ("RELU", ["between"], ["out"])],
        ["in"],
        ["out"],
    )
    (tmp_path / "m.tflite").write_bytes(content)
    assert run_command("inspect", tmp_path / "m.tflite") == 0
    said = capsys.readouterr().out
    assert "0 per inference, without those of 1 operator that cannot be counted" in said
    assert "not counted" in said
    assert run_command("inspect", tmp_path / "m.tflite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["macs_not_counted"] == {"CUSTOM:own": 1}


def test_damaged_models_and_chains_end_with_0_or_with_2_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels_in_words, "kernels_in_child", lambda _path, _content: "not asked")
    path = tmp_path / "input.tflite"
    makers = (Mutator(5), ChainMutator(5))
    for number in range(300):
        path.write_bytes(makers[number % 2].next())
        form = FORMS[number % len(FORMS)]
        assert inspect(path, form) == "", (number, form)
