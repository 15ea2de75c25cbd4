"""Only operators of the allow-list reach native code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as generated
from tiny_model import tiny_model

from qlvit_edge import bundled
from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference import network as module
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.modelfile.operators import (
    ALLOWED_OPERATORS,
    EDGETPU_OPERATOR,
    RUNNING_OPERATORS,
    require_allowed,
)
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.modelfile.schema import BUILTIN_OPERATORS

REFUSED = ["WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE", "HASHTABLE_FIND", "RANDOM_UNIFORM"]
REFUSED += ["DELEGATE", "STABLEHLO_CUSTOM_CALL", "EMBEDDING_LOOKUP_SPARSE", "LSH_PROJECTION"]


def with_operator(code: int, custom: bytes | None = None) -> bytes:
    """Return the tiny model with another first operator."""
    model: Any = generated.ModelT.InitFromObj(generated.Model.GetRootAs(tiny_model(), 0))
    first = model.operatorCodes[0]
    first.builtinCode, first.deprecatedBuiltinCode, first.customCode = code, min(code, 127), custom
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def no_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_runtime(*_arguments: object, **_options: object) -> None:
        pytest.fail("native code was reached")

    monkeypatch.setattr(module, "load_native", load_runtime)


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("name", REFUSED)
def test_operators_outside_the_list_are_refused_by_name(name: str) -> None:
    content = with_operator(BUILTIN_OPERATORS.index(name))
    with pytest.raises(ModelFileError, match=f"^model: it needs the operator {name},"):
        Interpreter(content)


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("code", [len(BUILTIN_OPERATORS), 5000, 2**31 - 1])
def test_operators_newer_than_the_schema_are_refused(code: int) -> None:
    with pytest.raises(ModelFileError, match=f"UNKNOWN_{code}"):
        Interpreter(with_operator(code))


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("custom", [b"FlexMatMul", b"", None, b"edgetpu-custom-op2", b"\xff\n"])
def test_custom_operators_are_refused(custom: bytes | None) -> None:
    with pytest.raises(ModelFileError, match="custom operator"):
        Interpreter(with_operator(BUILTIN_OPERATORS.index("CUSTOM"), custom))


def test_the_edge_tpus_own_operator_is_allowed() -> None:
    content = with_operator(BUILTIN_OPERATORS.index("CUSTOM"), EDGETPU_OPERATOR.encode())
    assert require_allowed(read_document(content), "model").operators[0].name == "CUSTOM"


def test_the_list_names_operators_of_the_schema() -> None:
    assert set(BUILTIN_OPERATORS) >= ALLOWED_OPERATORS
    assert "CUSTOM" not in ALLOWED_OPERATORS


MOBILE_NETS = "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV"
MOBILE_NETS += " FULLY_CONNECTED HARD_SWISH LOGISTIC MAX_POOL_2D MEAN MUL PAD QUANTIZE RELU RELU6"
MOBILE_NETS += " RESHAPE RESIZE_BILINEAR SOFTMAX SUB TRANSPOSE"
OF_THE_BATCH = "SHAPE STRIDED_SLICE PACK GATHER REDUCE_PROD EXPAND_DIMS SQUEEZE"
TRANSFORMERS = "BATCH_MATMUL GELU RSQRT SQUARED_DIFFERENCE SPLIT SPLIT_V SLICE TANH EXP POW"


@pytest.mark.parametrize("names", [MOBILE_NETS, OF_THE_BATCH, TRANSFORMERS, "BITWISE_XOR"])
def test_usual_exports_and_earlier_files_of_ours_run(names: str) -> None:
    assert set(names.split()) <= RUNNING_OPERATORS <= ALLOWED_OPERATORS


def test_the_manual_lists_what_runs() -> None:
    manual = Path(__file__).parents[1] / "docs" / "limits.md"
    listed = manual.read_text("utf-8").split("```")[1]
    assert set(listed.split()) == RUNNING_OPERATORS


@pytest.mark.parametrize("path", sorted(bundled.FOLDER.glob("*/*.tflite")), ids=lambda p: p.stem)
def test_bundled_models_need_nothing_else(path: Any) -> None:
    require_allowed(read_document(path), path)
