"""Other members of the family than V4 with BatchNorm go from a run to a proven file alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import run_command
from small_run import small_config, write_folder, write_run

from qlvit_edge.modelfile.metadata import read_metadata


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "v3", "norm": "layer", "kv_pool": (2, 2, 1, 1)},
        {"kan_basis": "cubic", "input_size": (64, 96)},
        {"variant": "mvitv2"},
        {"variant": "v2", "norm": "batch", "channels": 1, "input_size": (32, 64)},
    ],
)
@pytest.mark.parametrize("form", ["fast", "exact"])
def test_calibrate_and_convert(changes: dict[str, object], form: str, tmp_path: Path) -> None:
    config = small_config(**changes)
    write_run(tmp_path / "run", write_folder(tmp_path / "data", 5), config)
    assert run_command("calibrate", tmp_path / "run", "--images", 8) == 0
    out, report = tmp_path / "model.tflite", tmp_path / "proof.json"
    options = ("--softmax", form, "--report", report, "--max-drop", 100)
    assert run_command("convert", tmp_path / "run", "--out", out, *options) == 0
    assert json.loads(report.read_text())["equality"]["unequal"] == {}
    metadata = read_metadata(out.read_bytes())
    assert metadata is not None
    assert (metadata.variant, metadata.input_size) == (config.variant, config.input_size)


def test_an_edge_tpu_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(variant="v1", norm="batch", input_size=(32, 32))
    write_run(tmp_path / "run", write_folder(tmp_path / "data", 5), config)
    assert run_command("calibrate", tmp_path / "run", "--images", 4) == 0
    out = tmp_path / "model.chain"
    capsys.readouterr()
    assert run_command("convert", tmp_path / "run", "--out", out, "--target", "edgetpu") == 2
    said = capsys.readouterr().err
    assert "v0, v1, v2) is not lowered for an Edge TPU" in said
    assert "--target cpu" in said
    assert not out.exists()
