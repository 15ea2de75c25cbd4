"""`inspect` shows any TFLite file, refuses anything else in one line, and hides no float."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from operator_file import operator_file
from tiny_metadata import tiny_file
from tiny_model import tiny_model

from qlvit_edge.cli import main
from qlvit_edge.cli.inspect import command


def _inspect(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result


def test_tables_show_layers_operators_metadata_and_verdict(tmp_path: Path) -> None:
    output = _inspect(tiny_file(tmp_path / "tiny.tflite")).output
    for text in (
        "CONV_2D v3",
        "1×8×8×3",
        "INT8",
        "585",
        "98.5 %",
        "BLUE, GREEN, RED",
        "golden pairs",
        "arena",
        "basophils, bands, blasts",
        "8×8",
        "✓ integers only, builtin operators only",
    ):
        assert text in output
    assert "XNNPACK" in output or "builtin (" in output


def test_json_holds_the_same(tmp_path: Path) -> None:
    found = json.loads(_inspect(tiny_file(tmp_path / "tiny.tflite"), "--json").output)
    assert found["operator_counts"] == {
        "QUANTIZE": 1,
        "CONV_2D": 1,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
    }
    assert found["macs"] == 585
    assert found["bytes"] == (tmp_path / "tiny.tflite").stat().st_size
    assert found["audit"]["passed"] is True
    assert found["metadata"]["golden_pairs"] == 3
    assert found["metadata"]["labels"] == ["BLUE", "GREEN", "RED"]
    assert found["inputs"][0]["type"] == "UINT8"
    kernel = next(t for t in found["graphs"][0]["tensors"] if t["name"] == "kernel")
    assert kernel["scales"] == [1 / 64] * 3


def test_float_file_is_accepted_and_said(tmp_path: Path) -> None:
    output = _inspect(tiny_file(tmp_path / "f.tflite", floating=True)).output
    assert "FLOAT32" in output
    assert "! not an integer model: 8 float tensors" in output


def test_file_of_another_tool_has_no_metadata(tmp_path: Path) -> None:
    model = tiny_file(tmp_path / "m.tflite", with_metadata=False)
    assert json.loads(_inspect(model, "--json").output)["metadata"] is None
    output = _inspect(model, "--summary").output
    assert "Layers" not in output
    assert "FULLY_CONNECTED v4" in output


def test_names_in_the_file_cannot_drive_the_terminal(tmp_path: Path) -> None:
    hostile = tiny_model().replace(b"shifted", b"\x1b]0;[r]")
    (tmp_path / "h.tflite").write_bytes(hostile)
    output = _inspect(tmp_path / "h.tflite").output
    assert "\x1b" not in output
    assert "]0;[r]" in output


def test_names_in_the_file_are_no_markup(tmp_path: Path) -> None:
    """A graph called like a closing tag, and an operator's output too."""
    content = operator_file(
        {"in": ("INT8", (1, 4)), "[/b]": ("INT8", (1, 4))},
        [("LOGISTIC", ["in"], ["[/b]"])],
        ["in"],
        ["[/b]"],
    )
    (tmp_path / "h.tflite").write_bytes(content.replace(b"main", b"[/i]"))
    output = _inspect(tmp_path / "h.tflite").output
    assert "Layers of [/i]" in output
    assert "[/b]" in output


@pytest.mark.parametrize("content", [None, b"", b"not a model", tiny_model()[:900]])
def test_bad_files_end_with_one_line_and_code_2(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(path)])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {path}: ")
    assert captured.err.count("\n") == 1


def test_inspect_needs_no_training_packages(tmp_path: Path) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    program = (
        "import sys\n"
        "for name in ('torch', 'sklearn', 'matplotlib', 'safetensors', 'tensorflow', 'onnx'):\n"
        "    sys.modules[name] = None\n"
        "from qlvit_edge.cli import main\n"
        "main(['inspect', sys.argv[1]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CONV_2D" in done.stdout
