"""The verdict of `validate`: what fails, what proves less, and what stands on top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command import run_command
from tiny_metadata import metadata, plain_image, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge import bundled
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split, select, stratified_split
from qlvit_edge.data.training_images import list_training_images, write_training_images
from qlvit_edge.evaluation.checks import golden_check
from qlvit_edge.evaluation.verdict import Check, accuracy_gate, judge, latency_gate
from qlvit_edge.inference.golden import GoldenReport
from qlvit_edge.memory import peak_memory
from qlvit_edge.modelfile.metadata import embed

GOOD = GoldenReport(3, True, 3, passed=True, arithmetic="reference", equal=3)


def _folder(root: Path, folders: dict[str, str], count: int = 4) -> Path:
    """A class folder for every name, with images of the given colour."""
    for folder, colour in folders.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            image = plain_image(colour, size=20, level=160 + 10 * number)
            cv2.imwrite(str(root / folder / f"{folder} {number}.png"), image[:, :, ::-1])
    return root


def _report(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


def _images(report: Any) -> list[tuple[str, str]]:
    """What the report says of the images."""
    found = [check for check in report["checks"] if check["name"] == "images"]
    return [(check["state"], check["text"]) for check in found]


def _trained_with(folder: Path, target: Path, seed: int = 0) -> tuple[Path, Path]:
    """A model that says it was trained with a split of the folder, and that split."""
    split = stratified_split(scan(folder), 0.5, seed)
    data = metadata().model_copy(update={"split_fingerprint": split.fingerprint})
    model, split_file = target / "m.tflite", target / "split.json"
    model.write_bytes(embed(tiny_model(), data))
    split_file.write_text(split.model_dump_json())
    return model, split_file


def test_foreign_folders_unknown_cells_and_a_missing_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {"blue": "BLUE", "Grassy": "GREEN", "Blast": "RED", "Grey": "RED"}
    cells = _folder(tmp_path / "cells", folders)
    for number in range(3):  # a grey image: no colour is likely enough
        cv2.imwrite(str(cells / "Grey" / f"Grey {number}.png"), plain_image("RED", level=30))
    model, out = tiny_file(tmp_path / "m.tflite"), tmp_path / "out"
    given = ("--data", cells, "--out", out)
    assert run_command("validate", model, *given) == 2
    assert "does not know Blast, Grassy, Grey" in capsys.readouterr().err
    options = ("--map", "Grassy=green", "--unknown-classes", "--one-view")
    assert run_command("validate", model, *given, *options) == 0
    report = _report(out)
    assert report["accuracy"] == 1.0
    assert report["data"]["classes"] == {"BLUE": 4, "GREEN": 4, "RED": 0}
    assert report["classes"]["RED"]["recall"] is None
    assert report["data"]["unknown"] == {"Blast": 4, "Grey": 4}
    accepted = report["acceptance"]
    assert accepted["unknown_by_folder"] == {"Blast": [4, 4], "Grey": [4, 1]}
    assert accepted["unknown_accepted_as"] == {"RED": 5}
    assert (accepted["known_accepted"], accepted["known_accepted_right"]) == (8, 8)
    assert "there is no image of RED" in report["verdict"]["sentence"]
    assert len(report["views"]) == 1
    text = "Of 8 unknown cells 5 were accepted (5 as RED)."
    assert text in capsys.readouterr().out
    assert text in (out / "index.html").read_text()


def test_a_damaged_image_is_left_out_said_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = _folder(tmp_path / "cells", {label: label for label in COLOURS})
    model, split_file = _trained_with(cells, tmp_path)
    name = json.loads(split_file.read_text())["test"][0]
    (cells / name).write_bytes(b"no image")
    out = tmp_path / "out"
    given = ("--data", cells, "--split", split_file, "--out", out)
    assert run_command("validate", model, *given) == 1
    assert "1 image could not be read" in capsys.readouterr().err
    report = _report(out)
    assert report["verdict"]["outcome"] == "may not be used"
    assert list(report["data"]["damaged"]) == [name]
    assert report["data"]["images"] == 5
    assert report["data"]["whole_test_side"] is False
    assert any(note.startswith(f"Left out: {name} (not a JPEG") for note in report["notes"])


def test_the_whole_test_side_of_the_models_own_split_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = _folder(tmp_path / "cells", {label: label for label in COLOURS})
    model, split_file = _trained_with(cells, tmp_path)
    out = tmp_path / "out"
    given = ("--data", cells, "--split", split_file, "--out", out, "--min-accuracy", 90)
    assert run_command("validate", model, *given, "--max-latency", 60_000) == 0
    assert "100.00 % of 6 images right" in capsys.readouterr().out.splitlines()[0]
    report, page = _report(out), (out / "index.html").read_text()
    assert _images(report) == [("passed", "the whole test side of the split of training")]
    assert report["data"]["whole_test_side"] is True
    assert report["latency_gate"]["passed"] is True
    assert report["command"].startswith("qlvit-edge validate ")
    assert report["command"].endswith(" --max-latency 60000")
    assert report["date"][:2] == "20"
    assert report["machine"]["cores"] >= 1
    for text in ("<b>May ", "the fingerprint matches", report["command"].split()[0]):
        assert text in page
    assert page.index("<b>May ") < page.index("Accuracy by class")


def test_test_images_that_are_training_images_by_content_reduce_the_proof(tmp_path: Path) -> None:
    cells = _folder(tmp_path / "cells", {label: label for label in COLOURS})
    model, split_file = _trained_with(cells, tmp_path)
    split = json.loads(split_file.read_text())
    tested = next(name for name in split["test"] if name.startswith("RED"))
    trained = next(name for name in split["train"] if name.startswith("RED"))
    (cells / tested).write_bytes((cells / trained).read_bytes())
    out = tmp_path / "out"
    given = ("--data", cells, "--split", split_file, "--out", out)
    assert run_command("validate", model, *given) == 0
    assert _images(_report(out)) == [
        ("warning", "1 of the 6 images is a training image, by content")
    ]


def test_renamed_training_images_are_told_by_the_list_beside_the_model(tmp_path: Path) -> None:
    cells = _folder(tmp_path / "cells", {label: label for label in COLOURS})
    model, split_file = _trained_with(cells, tmp_path)
    split = load_split(split_file)
    trained = select(scan(cells), split.train)
    listed = list_training_images(trained, split.fingerprint, lambda: None)
    write_training_images(tmp_path, listed)
    renamed = tmp_path / "renamed"
    for number, image in enumerate(trained):
        (renamed / image.relative).parent.mkdir(parents=True, exist_ok=True)
        pixels = cv2.imread(str(image.path))
        cv2.imwrite(str((renamed / image.relative).with_name(f"{number}.bmp")), pixels)
    out = tmp_path / "out"
    assert run_command("validate", model, "--data", renamed, "--out", out) == 0
    report = _report(out)
    assert report["data"]["training_images"] == len(trained) == 6
    assert "6 of the 6 images are training images, by content" in report["verdict"]["sentence"]
    given = ("--data", cells, "--split", split_file, "--out", out)
    assert run_command("validate", model, *given) == 0
    assert _images(_report(out))[0][0] == "passed"
    assert _report(out)["data"]["training_images"] == 0


def test_a_latency_budget_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    given = ("blood-nano", "--out", out, "--one-view", "--max-latency", 0.0001)
    assert run_command("validate", *given) == 1
    assert "latency p90 (" in capsys.readouterr().err
    report = _report(out)
    assert report["latency_gate"]["passed"] is False
    crops = len(list(bundled.CROPS.glob("*/*")))
    assert ("warning", f"only the {crops} bundled crops were measured") in _images(report)
    assert "<b>May not be used</b>" in (out / "index.html").read_text()


def test_gates_and_reasons() -> None:
    assert accuracy_gate(None, 0.5, (0.4, 0.6)) is None
    near, far = (accuracy_gate(least, 0.9, (0.8, 0.95)) for least in (0.9, 0.5))
    assert near is not None
    assert far is not None
    assert (near.passed, near.within_interval) == (True, True)
    assert (far.passed, far.within_interval) == (True, False)
    latencies = {"p50": 1.0, "p90": 2.0, "p99": 9.0}
    for most, passed in ((2.0, True), (1.99, False)):
        gate = latency_gate(most, latencies)
        assert gate is not None
        assert gate.passed is passed
    nothing = latency_gate(5, None)
    assert nothing is not None
    assert not nothing.passed


def test_the_sentence_names_what_failed_or_else_what_is_missing() -> None:
    silent = golden_check("golden", GoldenReport(0, False, 0, reason="the file holds none"))
    assert silent.state == "not examined"
    assert golden_check("golden", GOOD).state == "passed"
    few, bad = Check("images", "warning", "few"), Check("images", "failed", "2 cannot be read")
    verdict = judge("X", [silent, few])
    assert verdict.outcome == "may be used with reservations"
    assert verdict.sentence == (
        "X, but few; not examined: golden (no golden pair decides: the file holds none)."
    )
    verdict = judge("X", [few, bad, silent])
    assert (verdict.outcome, verdict.failures) == ("may not be used", ("2 cannot be read",))
    assert verdict.sentence == "X, because 2 cannot be read."
    verdict = judge("X", [Check("golden", "passed", "all equal")])
    assert (verdict.outcome, verdict.sentence) == ("may be used", "X.")


def test_memory_is_that_of_the_models_process_alone(tmp_path: Path) -> None:
    """This process holds far more than the one that runs the model."""
    ballast = np.ones(200 << 20, np.uint8)
    out = tmp_path / "out"
    assert run_command("validate", "blood-nano", "--out", out, "--one-view") == 0
    memory, own = _report(out)["memory_bytes"], peak_memory()
    assert own is not None
    assert own > ballast.nbytes
    assert 10 << 20 < memory["before_model"] < memory["peak"] < ballast.nbytes
