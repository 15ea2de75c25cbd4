"""`inspect --edgetpu` on small files: what is mapped, said first, and of compiled ones read off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_edgetpu_compiler import compiled
from operator_file import BIAS, KERNEL, operator_file
from tiny_model import tiny_model

from qlvit_edge.cli.inspect import command
from qlvit_edge.modelfile.edgetpu_forecast import ANOTHER_PARTITION, LEFT_BY_THE_COMPILER, forecast
from qlvit_edge.modelfile.reader import read_document

MAP = ("INT8", (1, 8, 8, 4))
FLOATS = ("FLOAT32", (1, 8, 8, 4))
PARAMETERS = {KERNEL: ("INT8", (4, 1, 1, 4)), BIAS: ("INT32", (4,))}
MACS = 8 * 8 * 4 * 4


def _convolution(read: str, made: str) -> tuple[str, list[str], list[str]]:
    return ("CONV_2D", [read, KERNEL, BIAS], [made])


def _float_ends() -> bytes:
    """Floats in and out, as converters write unless told otherwise."""
    return operator_file(
        {"in": FLOATS, "a": MAP, "b": MAP, "out": FLOATS, **PARAMETERS},
        [
            ("QUANTIZE", ["in"], ["a"]),
            _convolution("a", "b"),
            ("DEQUANTIZE", ["b"], ["out"]),
        ],
        ["in"],
        ["out"],
    )


def _side_branch() -> bytes:
    """An operator that is not mapped, first in the file, on which nothing else depends."""
    return operator_file(
        {"in": MAP, "largest": ("INT32", (1, 8, 8)), "out": MAP, **PARAMETERS},
        [("ARG_MAX", ["in"], ["largest"]), _convolution("in", "out")],
        ["in"],
        ["largest", "out"],
    )


def _joined_branch() -> bytes:
    """A branch starts with an operator that is not mapped and joins the mapped one."""
    return operator_file(
        {"in": MAP, "a": MAP, "b": MAP, "out": MAP, **PARAMETERS},
        [
            _convolution("in", "a"),
            ("HARD_SWISH", ["in"], ["b"]),
            ("ADD", ["a", "b"], ["out"]),
        ],
        ["in"],
        ["out"],
    )


def _middle() -> bytes:
    """A whole network behind an operator that is not mapped, and one beside it."""
    return operator_file(
        {**dict.fromkeys(("in", "a", "b", "c", "d", "e"), MAP), **PARAMETERS},
        [
            _convolution("in", "a"),
            ("EXP", ["a"], ["b"]),
            _convolution("b", "c"),
            ("LOGISTIC", ["a"], ["d"]),
            ("ADD", ["c", "d"], ["e"]),
        ],
        ["in"],
        ["e"],
    )


@pytest.mark.parametrize(
    ("content", "mapped"),
    [
        (_float_ends(), [False, True, False]),
        (_side_branch(), [False, True]),
        (_joined_branch(), [True, False, True]),
        (_middle(), [True, False, False, True, False]),
        (tiny_model(), [True, True, True, True]),
        (tiny_model(floating=True), [False, False, False]),
    ],
    ids=["float ends", "side branch", "joined branch", "middle", "integers", "floats"],
)
def test_what_is_mapped(content: bytes, mapped: list[bool]) -> None:
    assert list(forecast(read_document(content)).mapped) == mapped


def test_the_reason_is_the_rule_or_the_other_partition() -> None:
    found = forecast(read_document(_middle()))
    assert [found.status(index) for index in range(5)] == [
        "mapped",
        "CPU: operator not supported",
        f"CPU: {ANOTHER_PARTITION}",
        "mapped",
        f"CPU: {ANOTHER_PARTITION}",
    ]
    assert found.partition == 2
    assert found.macs(partition=True) == MACS
    assert found.macs(partition=False) == 2 * MACS
    assert found.partition_bytes == 16 + 16


def _inspected(content: bytes, folder: Path, *options: str) -> str:
    path = folder / "model.tflite"
    path.write_bytes(content)
    result = CliRunner().invoke(command, [str(path), "--edgetpu", *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (
            _float_ends(),
            "Compiled as one file, 1 of 3 operators with 100.0% of the MACs would run on the Edge "
            "TPU; 2 left on the CPU.",
        ),
        (
            _middle(),
            "Compiled as one file, 2 of 5 operators with 50.0% of the MACs would run on the Edge "
            "TPU; 3 left on the CPU.",
        ),
        (
            tiny_model(floating=True),
            "Compiled as one file, none of 3 operators would run on the Edge TPU.",
        ),
        (compiled(tiny_model())[0], "Compiled already; 0 operators left on the CPU."),
    ],
    ids=["some", "half", "none", "compiled"],
)
def test_the_answer_comes_first(content: bytes, answer: str, tmp_path: Path) -> None:
    assert _inspected(content, tmp_path).splitlines()[0] == answer


def _half_compiled(name: str = "custom:edgetpu-custom-op") -> bytes:
    return operator_file(
        {"in": FLOATS, "a": MAP, "b": MAP, "out": FLOATS},
        [("QUANTIZE", ["in"], ["a"]), (name, ["a"], ["b"]), ("DEQUANTIZE", ["b"], ["out"])],
        ["in"],
        ["out"],
    )


def test_a_compiled_file_is_read_not_forecast(tmp_path: Path) -> None:
    found = forecast(read_document(_half_compiled()))
    assert found.compiled
    assert found.mapped == (False, True, False)
    assert found.status(0) == f"CPU: {LEFT_BY_THE_COMPILER}"
    values: dict[str, Any] = json.loads(_inspected(_half_compiled(), tmp_path, "--json"))
    assert next(iter(values)) == "answer"
    assert values["answer"] == "compiled already; 2 operators left on the CPU"
    assert (values["compiled"], values["operators_on_cpu"]) == (True, 2)
    text = _inspected(_half_compiled(), tmp_path)
    assert "not forecast" in text
    assert "keep" not in text


def test_another_custom_operator_is_no_compiled_file() -> None:
    found = forecast(read_document(_half_compiled("custom:TFLite_Detection_PostProcess")))
    assert not found.compiled
    assert found.mapped == (False, False, False)


def test_a_doubt_is_shown_with_what_it_concerns(tmp_path: Path) -> None:
    content = operator_file(
        {"in": ("INT8", (1, 16_384)), "out": ("INT8", (1, 16_384))},
        [("SOFTMAX", ["in"], ["out"])],
        ["in"],
        ["out"],
    )
    values = json.loads(_inspected(content, tmp_path, "--json"))
    assert values["operators"][0]["monolithic"] == "mapped"
    assert "1 of these in doubt; none left" in values["answer"]
    assert "documented up to 16000" in values["operators"][0]["remark"]
    assert values["kinds"][0]["remark"] == values["operators"][0]["remark"]
    for options in ((), ("--summary",)):
        assert "in doubt: documented up to 16000" in _inspected(content, tmp_path, *options)


def test_escapes_in_a_file_reach_no_terminal(tmp_path: Path) -> None:
    hostile = _half_compiled("custom:\x1b]0;title\x07[red]")
    for options in ((), ("--summary",)):
        output = _inspected(hostile, tmp_path, *options)
        assert not {c for c in output if not c.isprintable()} - {"\n"}
        assert "[red]" in output


@pytest.mark.parametrize("options", [(), ("--edgetpu",)])
def test_json_of_a_hostile_file_is_safe_to_print(options: tuple[str, ...], tmp_path: Path) -> None:
    """C1 controls too: U+009B alone begins an escape sequence, U+202E turns a line around."""
    code = "custom:\x1b[2J\x9b2J\u202eé"
    path = tmp_path / "hostile.tflite"
    path.write_bytes(_half_compiled(code))
    result = CliRunner().invoke(command, [str(path), "--json", *options], catch_exceptions=False)
    assert not {c for c in result.output if not c.isprintable()} - {"\n"}
    assert "é" in result.output
    names = {entry["name"] for entry in _operators(json.loads(result.output))}
    assert f"CUSTOM:{code[7:]}" in names


def _operators(values: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = values.get("operators") or values["graphs"][0]["operators"]
    return found


def test_a_tensor_read_before_it_is_made_is_no_dependency() -> None:
    """Such a file runs nowhere, but it is read, and the answer must not hang or raise."""
    content = operator_file(
        {"in": MAP, "a": MAP, "b": MAP},
        [("ADD", ["in", "b"], ["a"]), ("LOGISTIC", ["a"], ["b"])],
        ["in"],
        ["b"],
    )
    assert forecast(read_document(content)).mapped == (True, True)
