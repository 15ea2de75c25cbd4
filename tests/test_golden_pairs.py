"""Golden pairs pass or fail on the kernels that ran: `validate` fails by a single step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from command import run_command
from tiny_metadata import metadata, plain_image, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.modelfile.metadata import embed


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Two images per colour."""
    root = tmp_path / "cells"
    for label in COLOURS:
        (root / label).mkdir(parents=True)
        for size in (20, 21):
            image = plain_image(label, size=size)[:, :, ::-1]
            cv2.imwrite(str(root / label / f"{size}.png"), image)
    return root


def _validate(*arguments: object) -> int:
    return run_command("validate", *arguments)


def _report(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("kernels", ["auto", "builtin", "reference"])
def test_kernels_that_ran_are_named_and_golden_pairs_agree(
    kernels: str, cells: Path, tmp_path: Path
) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "report"
    assert _validate(model, "--data", cells, "--out", out, "--kernels", kernels) == 0
    report = _report(out)
    assert report["kernels"]["asked"] == kernels
    assert report["kernels"]["used"].startswith(
        {"auto": ("XNNPACK", "builtin"), "builtin": "builtin", "reference": "reference"}[kernels]
    )
    assert report["golden"]["compared"] == 3
    assert report["golden"]["passed"] is (None if kernels == "builtin" else True)
    assert report["golden"]["arithmetic"] == ("xnnpack" if kernels == "auto" else "reference")
    assert report["kernels"]["arithmetic"].startswith(
        {"auto": "XNNPACK arithmetic, proved for ai-edge-litert "}.get(kernels, kernels)
    )
    assert report["kernels"]["proved"] is (kernels != "builtin")


@pytest.mark.parametrize(
    ("kernels", "field", "words"),
    [("reference", "logits", "reference kernels"), ("auto", "xnnpack_logits", "XNNPACK's kernels")],
)
def test_a_golden_pair_that_its_kernels_miss_by_one_step_is_a_failed_check(
    kernels: str,
    field: str,
    words: str,
    cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = metadata()
    logits = data.golden[0].logits
    wrong = data.golden[0].model_copy(update={field: [logits[0] + 1, *logits[1:]]})
    data = data.model_copy(update={"golden": [wrong, *data.golden[1:]]})
    model, out = tmp_path / "tiny.tflite", tmp_path / "report"
    model.write_bytes(embed(tiny_model(), data))
    assert _validate(model, "--data", cells, "--out", out, "--kernels", kernels) == 1
    assert f"{words} give 2 of 3 golden pairs only" in capsys.readouterr().err
    assert _report(out)["golden"]["largest_difference"] == 1
    assert _report(out)["golden"]["values_that_differ"] == 1
    other = "auto" if kernels == "reference" else "reference"
    # The reference kernels are asked for their pairs whatever else runs.
    code = 1 if kernels == "reference" else 0
    assert _validate(model, "--data", cells, "--out", out, "--kernels", other) == code
    assert _report(out)["golden"]["passed"] is True


def test_a_file_of_format_1_runs_and_says_that_it_has_no_pairs_for_xnnpack(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = metadata()
    old = [pair.model_copy(update={"xnnpack_logits": None}) for pair in data.golden]
    data = data.model_copy(update={"golden": old, "format_version": 1})
    model, out = tmp_path / "tiny.tflite", tmp_path / "report"
    model.write_bytes(embed(tiny_model(), data))
    assert _validate(model, "--data", cells, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "no pairs for XNNPACK's kernels (format 1: convert it again)" in printed
    assert "not proved for a file of format 1" in printed
    assert _report(out)["golden"]["passed"] is None
    assert _validate(model, "--data", cells, "--out", out, "--kernels", "reference") == 0
    assert _report(out)["golden"]["passed"] is True


def test_a_classifier_says_which_arithmetic_ran_and_whether_the_pairs_hold(tmp_path: Path) -> None:
    path = tiny_file(tmp_path / "m.tflite")
    classifier = Classifier(path)
    assert classifier.arithmetic.name == "xnnpack"
    assert str(classifier.arithmetic).startswith("XNNPACK arithmetic, proved for ai-edge-litert 2.")
    assert classifier.golden_pairs_hold() is True
    assert classifier.golden_pairs().equal == 3
    reference = Classifier(path, kernels="reference")
    assert reference.arithmetic.name == "reference"
    assert reference.arithmetic.proved
    assert reference.golden_pairs_hold() is True
    builtin = Classifier(path, kernels="builtin")
    assert str(builtin.arithmetic) == "builtin kernels, for which no arithmetic is proved"
    assert builtin.golden_pairs_hold() is None
    assert "builtin kernels" in builtin.golden_pairs().sentence


def test_pairs_that_do_not_hold_are_told(tmp_path: Path) -> None:
    data, path = metadata(), tmp_path / "m.tflite"
    wrong = data.golden[2].model_copy(update={"xnnpack_logits": [0, 0, 0]})
    changed = data.model_copy(update={"golden": [*data.golden[:2], wrong]})
    path.write_bytes(embed(tiny_model(), changed))
    assert Classifier(path).golden_pairs_hold() is False
    assert Classifier(path, kernels="reference").golden_pairs_hold() is True
