"""The stock path for real, run by `make test-onnx2tf`: it needs an environment of its own.

Not collected by the other test targets (the name is not `test_…`). The environment is the one
that `QLVIT_EDGE_ONNX2TF_PYTHON` names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import files_below, run_command
from small_run import small_config, write_folder, write_run

from qlvit_edge.evaluation.measured_model import open_model


@pytest.mark.parametrize("size", ["small", "tiny"])
def test_float_files_are_the_network_and_the_full_integer_one_is_judged(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random weights, settled; `tiny` has ambiguous sides (32 channels, 32 rows) too."""
    from qlvit_edge.model.configs import size_config

    config = small_config() if size == "small" else size_config("tiny")
    write_run(tmp_path / "run", write_folder(tmp_path / "data", 5), config)
    out, report = tmp_path / "stock", tmp_path / "report.json"
    code = run_command(
        "convert", tmp_path / "run", "--route", "onnx2tf", "--out", out, "--report", report
    )
    formats = json.loads(report.read_text())["formats"]
    assert list(formats) == ["float32", "float16", "dynamic-range", "full-integer"]
    assert formats["float32"]["failure"] is None
    assert formats["float16"]["failure"] is None
    written = {f"run-{name}.tflite" for name, found in formats.items() if not found["failure"]}
    assert files_below(out) == written
    assert code == (0 if len(written) == 4 else 1)
    assert open_model(out / "run-float32.tflite").input_size == config.input_size


def test_the_bundled_network_through_the_stock_path(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ("--route", "onnx2tf", "--out", tmp_path / "stock", "--report", report)
    assert run_command("convert", "blood-nano", *arguments) == 1
    formats = json.loads(report.read_text())["formats"]
    failed = {name for name, found in formats.items() if found["failure"]}
    assert failed == {"full-integer"}
    assert formats["full-integer"]["float_tensors"] > 0
