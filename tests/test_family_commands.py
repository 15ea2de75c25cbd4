"""Variants with attention over keys go the whole way on the command line, in colour and in grey."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from command import run_command
from small_run import CLASSES, cell_image, small_config, write_folder

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.files import write_text
from qlvit_edge.model import configs
from qlvit_edge.modelfile.metadata import read_metadata
from qlvit_edge.training.checkpoint import read_run_config


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells and, beside them, their split."""
    cells = write_folder(tmp_path_factory.mktemp("family") / "cells", 5)
    split = stratified_split(scan(cells), 0.25, 0)
    write_text(cells.parent / "split.json", split.model_dump_json())
    return cells


@pytest.mark.parametrize(
    ("variant", "channels", "softmax", "form"),
    [
        ("v0", 1, "log2", "fast"),
        pytest.param("v0", 3, "float", "exact", marks=pytest.mark.slow),
        pytest.param("v1", 1, "float", "fast", marks=pytest.mark.slow),
        pytest.param("v1", 3, "log2", "exact", marks=pytest.mark.slow),
        pytest.param("mvitv2", 1, "float", "exact", marks=pytest.mark.slow),
        pytest.param("mvitv2", 3, "log2", "fast", marks=pytest.mark.slow),
    ],
)
def test_from_training_to_explanation(
    variant: str,
    channels: int,
    softmax: str,
    form: str,
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config(input_size=(32, 32)))
    run, model = tmp_path / "run", tmp_path / "model.tflite"
    split = ("--split", cells.parent / "split.json")
    network = ("--variant", variant, "--channels", channels, "--softmax", softmax)
    steps = ("--epochs", 1, "--batch", 6, "--validation", 0)
    assert run_command("train", "--data", cells, *split, *network, *steps, "--out", run) == 0
    found = read_run_config(run).network
    assert (found.variant, found.channels, found.softmax) == (variant, channels, softmax)
    assert run_command("calibrate", run, "--images", 4, "--guard-images", 0) == 0
    # One epoch teaches nothing: what integers cost says nothing either.
    asked = ("--softmax", form, "--out", model, "--max-drop", 100)
    assert run_command("convert", run, *asked) == 0
    metadata = read_metadata(model.read_bytes())
    assert metadata is not None
    assert (metadata.variant, metadata.channels) == (variant, channels)
    report = tmp_path / "report"
    assert run_command("validate", model, "--data", cells, *split, "--out", report) == 0
    golden = json.loads((report / "report.json").read_text())["golden"]
    assert golden["passed"] is True
    image = tmp_path / "cell.png"
    assert cv2.imwrite(str(image), cell_image(0, 9)[..., ::-1])
    capfd.readouterr()
    assert run_command("predict", image, "--model", model) == 0
    said = capfd.readouterr().out.lower()
    assert any(name.lower() in said for name in CLASSES)
    for asked_of in (model, run):
        maps = tmp_path / f"maps of {asked_of.name}"
        assert run_command("explain", asked_of, image, "--out", maps) == 0
        (entry,) = json.loads((maps / "explanations.json").read_text())["images"]
        assert entry
