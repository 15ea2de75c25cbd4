"""A model with ELU as the reference kernels can run it, made without any runtime's schema."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

from qlvit_edge import bundled
from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.reference_form import reference_form
from qlvit_edge.modelfile import reader
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.flatbuffer import Walker
from qlvit_edge.modelfile.front import New, Old, Scalar, with_front
from qlvit_edge.modelfile.metadata import pack
from qlvit_edge.modelfile.reader import read_bytes, read_document


@pytest.fixture(scope="module")
def model() -> bytes:
    return read_bytes(bundled.resolve_model("blood-nano"))


@pytest.fixture
def no_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels' archive counts from the start of the file as it was."""
    monkeypatch.setattr(reader, "check_archive", lambda data: None)


def tree(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


@pytest.mark.usefixtures("no_archive")
def test_every_elu_becomes_exp_and_reshape_and_the_rest_stays(
    model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("ai_edge_litert")]:
        monkeypatch.setitem(sys.modules, name, None)  # as on a device with tflite-runtime alone
    before, after = read_document(model), read_document(reference_form(model))
    assert (after.warnings, after.misfits) == (before.warnings, before.misfits)
    assert after.tensors[: len(before.tensors)] == before.tensors
    elus = [operator for operator in before.operators if operator.name == "ELU"]
    assert len(elus) == len(after.tensors) - len(before.tensors) > 10
    _check_operators(before, after)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert {name: bytes(content) for name, content in after.metadata.items()} == {
        name: bytes(content) for name, content in before.metadata.items()
    }


def _check_operators(before: Document, after: Document) -> None:
    written = iter(after.operators)
    for operator in before.operators:
        own = next(written)
        if operator.name != "ELU":
            assert own == operator
            continue
        assert (own.name, own.version, own.inputs) == ("EXP", 2, operator.inputs)
        again = next(written)
        assert (again.name, again.inputs, again.outputs) == (
            "RESHAPE",
            own.outputs,
            operator.outputs,
        )
        held, made = after.tensors[own.outputs[0]], after.tensors[operator.outputs[0]]
        assert (held.name, held.shape, held.dtype) == (f"{made.name}/exp", made.shape, "INT8")
        assert made.zero_point == 127
        assert held.zero_point != 127
    assert next(written, None) is None


def test_the_schemas_own_accessors_see_the_same_and_weights_keep_their_places(
    model: bytes,
) -> None:
    written = reference_form(model)
    before, after = tree(model), tree(written)
    assert len(before.buffers) == len(after.buffers)
    reshape = next(
        operator
        for operator in after.subgraphs[0].operators
        if operator.outputs[0] == _first_elu(before).outputs[0]
    )
    made = after.subgraphs[0].tensors[reshape.outputs[0]]
    assert reshape.builtinOptionsType == schema.BuiltinOptions.ReshapeOptions
    assert list(reshape.builtinOptions.newShape) == list(made.shape)
    assert (len(written) - len(model)) % 64 == 0
    assert written.endswith(model)


def _first_elu(model: Any) -> Any:
    codes = [code.builtinCode for code in model.operatorCodes]
    elu = codes.index(schema.BuiltinOperator.ELU)
    return next(one for one in model.subgraphs[0].operators if one.opcodeIndex == elu)


@pytest.mark.usefixtures("no_archive")
def test_an_elu_of_another_scale_is_left_to_be_refused(model: bytes) -> None:
    other = tree(model)
    output = other.subgraphs[0].tensors[_first_elu(other).outputs[0]]
    output.quantization.scale = [0.25]
    content = pack(other)
    assert reference_form(content) == content


@pytest.mark.parametrize("change", ["weights behind", "newer", "no output"])
def test_what_cannot_be_rewritten_is_refused_in_one_line(model: bytes, change: str) -> None:
    if change == "newer":
        walker = Walker(memoryview(model))
        root = walker.table(walker.follow(0, "model"), "model")
        fields = {slot: Old(at) for slot in range(1, 8) if (at := root.target(slot)) is not None}
        content = with_front(model, New({**fields, 0: Scalar("I", 3), 9: Scalar("I", 1)}))
    else:
        other = tree(model)
        if change == "no output":
            _first_elu(other).outputs = []
        else:
            other.buffers[1].offset, other.buffers[1].size = 64, 4
        content = pack(other)
    with pytest.raises(ModelFileError, match="the reference kernels need another form") as raised:
        reference_form(content, "m.tflite")
    assert str(raised.value).startswith("m.tflite: ")
    assert "\n" not in str(raised.value)
