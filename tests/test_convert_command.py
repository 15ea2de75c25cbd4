"""`convert` writes a proven file or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command import files_below, refused, run_command
from full_disk import files_limited
from small_run import CLASSES, UNKNOWN_CELLS, cell_image, small_config, write_folder, write_run

from qlvit_edge import bundled
from qlvit_edge.bundled import CROPS_ORIGIN
from qlvit_edge.converters.proof import accuracy, equality
from qlvit_edge.data.folder import scan
from qlvit_edge.data.relabel import labelled_as
from qlvit_edge.files import sha256
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.inference.golden import compare_golden
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.metadata import ModelMetadata, read_metadata
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.preprocess import PREPROCESSING, preprocess

# The small network has random weights: what integers cost it says nothing.
GENEROUS = ("--max-drop", 100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run folder with its data beside it."""
    root = tmp_path_factory.mktemp("calibrated")
    write_run(root / "my cells µ", write_folder(root / "data of µ", 5), small_config())
    assert run_command("calibrate", root / "my cells µ", "--images", 8) == 0
    return root / "my cells µ"


@pytest.fixture(scope="module")
def converted(run: Path) -> Path:
    """The file made from it, its report beside it; names have spaces and Unicode."""
    out = run.parent / "out put" / "modèle 1.tflite"
    report = out.with_name("proof.json")
    assert run_command("convert", run, "--out", out, "--report", report, *GENEROUS) == 0
    return out


def _report(converted: Path) -> Any:
    return json.loads(converted.with_name("proof.json").read_text())


def test_only_the_file_and_the_report_are_left(converted: Path) -> None:
    assert files_below(converted.parent) == {converted.name, "proof.json"}


def test_the_file_holds_integers_and_builtin_operators_only(converted: Path) -> None:
    result = audit_integer_only(read_document(converted.read_bytes()))
    assert result.passed, result.verdict
    interpreter = Interpreter(converted)
    assert interpreter.input.dtype == np.uint8
    assert interpreter.input.shape == (1, 64, 64, 3)
    assert interpreter.output.dtype == np.int8
    assert interpreter.output.shape == (1, 4)


def test_two_conversions_give_the_same_bytes(converted: Path, run: Path, tmp_path: Path) -> None:
    assert run_command("convert", run, "--out", tmp_path / "two.tflite", *GENEROUS) == 0
    assert (tmp_path / "two.tflite").read_bytes() == converted.read_bytes()


def test_the_file_carries_its_own_answers_to_the_test_images(
    converted: Path, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    metadata = read_metadata(converted.read_bytes())
    assert metadata is not None
    assert metadata.confusion is not None
    test = json.loads((run / "split.json").read_text())["test"]
    expected = np.zeros((4, 5))
    with Classifier(converted) as classifier:
        assert metadata.confusion.accept_at == classifier.accept_at
        for name in test:
            answer = classifier.classify(run.parent / "data of µ" / name)
            column = CLASSES.index(answer.label) if answer.verdict == "accepted" else 4
            expected[CLASSES.index(name.partition("/")[0]), column] += 1
    table, sources = metadata.confusion.by_kind(4)
    assert (np.tensordot(sources, table, 1) == expected).all()
    assert not metadata.confusion.grouped
    capfd.readouterr()
    assert run_command("inspect", converted, "--summary") == 0
    assert f"mistakes on {len(test)} held-out cells" in " ".join(capfd.readouterr().out.split())


def test_the_file_carries_labels_hashes_preprocessing_and_golden_pairs(
    converted: Path, run: Path
) -> None:
    metadata = read_metadata(converted.read_bytes())
    assert metadata is not None
    assert metadata.name == "my cells µ"
    assert tuple(metadata.labels) == CLASSES
    assert tuple(metadata.input_size) == (64, 64)
    assert (metadata.colour, metadata.preprocessing) == ("RGB", PREPROCESSING)
    assert (metadata.softmax, metadata.variant, metadata.size_name) == ("fast", "v4", "nano")
    assert metadata.checkpoint_sha256 == sha256((run / "best.safetensors").read_bytes())
    assert metadata.calibration_sha256 == sha256((run / "calibration.json").read_bytes())
    split = json.loads((run / "split.json").read_text())
    assert metadata.split_fingerprint == split["fingerprint"]
    assert metadata.training_data == "data of µ"
    assert "research" in metadata.intended_use
    assert metadata.unknown_cells == list(UNKNOWN_CELLS)
    images, fingerprint = len(split["test"]), split["fingerprint"][:12]
    words = f"{images} images: the whole test side of data of µ, split {fingerprint}"
    assert set(metadata.accuracy) == {f"float, {words}", f"integer, {words}"}
    assert str(run.parent).encode() not in converted.read_bytes()
    known = [pair.label for pair in metadata.golden if pair.source == CROPS_ORIGIN]
    assert sorted(known) == sorted(2 * CLASSES)
    others = [pair for pair in metadata.golden if pair.source != CROPS_ORIGIN]
    assert {pair.source for pair in others} == {f"{CROPS_ORIGIN}; label: the model's own answer"}
    assert len(others) == 4  # of basophils and platelets


def test_a_run_of_before_the_description_converts_and_the_crops_are_its_golden_images(
    run: Path, tmp_path: Path
) -> None:
    old = _copy_described(run, tmp_path, unknown_cells=None, golden_images=None)
    metadata = _convert_few(old, tmp_path / "m.tflite")
    assert metadata.unknown_cells == []
    assert sum(pair.source == CROPS_ORIGIN for pair in metadata.golden) == 2 * len(CLASSES)


def test_a_run_that_names_golden_images_takes_those_and_no_others(
    run: Path, tmp_path: Path
) -> None:
    own = _copy_described(run, tmp_path, golden_images="may travel", stain="Wright", camera="A")
    for name, label in ((CLASSES[2], 2), ("something else", 0)):
        (own / "may travel" / name).mkdir(parents=True)
        for seed in range(3):
            image = cell_image(label, seed)[:, :, ::-1]
            assert cv2.imwrite(str(own / "may travel" / name / f"{seed}.png"), image)
    metadata = _convert_few(own, tmp_path / "m.tflite")
    assert (metadata.stain, metadata.camera, metadata.objective) == ("Wright", "A", None)
    pairs = metadata.golden
    origin = "golden images of the run, may travel"
    assert [pair.source for pair in pairs] == 2 * [origin] + 2 * [
        f"{origin}; label: the model's own answer"
    ]
    assert [pair.label for pair in pairs[:2]] == 2 * [CLASSES[2]]
    assert {pair.label for pair in pairs[2:]} <= set(CLASSES)
    expected = preprocess(cell_image(2, 0), (64, 64), 3)
    np.testing.assert_array_equal(pairs[0].image(), expected)


def test_golden_images_that_are_not_there_are_named(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = _copy_described(run, tmp_path, golden_images="gone")
    out = tmp_path / "m.tflite"
    line = refused(capfd, "convert", own, "--out", out, "--images", 4, "--max-drop", 100)
    assert str(own / "gone") in line
    assert not out.exists()


def _copy_described(run: Path, root: Path, **changes: object) -> Path:
    """A copy of the run folder with other words in its run.json; None takes a word out."""
    copy = root / "copy"
    shutil.copytree(run, copy)
    values = {**json.loads((copy / "run.json").read_text()), **changes}
    kept = {name: value for name, value in values.items() if value is not None}
    (copy / "run.json").write_text(json.dumps(kept))
    return copy


def _convert_few(run: Path, out: Path) -> ModelMetadata:
    assert run_command("convert", run, "--out", out, "--images", 4, "--max-drop", 100) == 0
    metadata = read_metadata(out.read_bytes())
    assert metadata is not None
    return metadata


@pytest.mark.parametrize("kernels", [Kernels.REFERENCE, Kernels.AUTO])
def test_golden_pairs_hold_what_the_kernels_compute(converted: Path, kernels: Kernels) -> None:
    metadata = read_metadata(converted.read_bytes())
    assert metadata is not None
    assert metadata.format_version == 3
    interpreter = Interpreter(converted, kernels=kernels)
    report, pairs = compare_golden(metadata, interpreter), 2 * len(scan(bundled.CROPS).classes)
    assert (report.passed, report.compared, report.equal) == (True, pairs, pairs)
    assert report.arithmetic == ("xnnpack" if kernels is Kernels.AUTO else "reference")
    assert interpreter.arithmetic.proved
    # The two arithmetics can be told apart, so neither test passes by the other's logits.
    assert any(pair.logits != pair.xnnpack_logits for pair in metadata.golden)


def test_the_report_says_what_was_proved(converted: Path, run: Path) -> None:
    report = _report(converted)
    images = len(json.loads((run / "split.json").read_text())["test"])
    assert report["equality"]["unequal"] == {}
    assert report["equality"]["images"] == report["accuracy"]["images"] == images
    assert report["equality"]["tensors"] > 150
    assert report["all_integer"]
    assert report["builtin_operators_only"]
    assert not report["reduced_proof"]
    assert report["passed"]
    assert report["budget"]["max_drop"] == 100
    assert report["budget"]["outcome"] == "within the budget"
    split = json.loads((run / "split.json").read_text())
    assert report["sample"] == {
        "images": images,
        "test_side": images,
        "split_fingerprint": split["fingerprint"],
        "own_split": True,
        "trained_on": 0,
        "checked": True,
        "folder": "data of µ",
        "whole": True,
        "labelled": True,
    }
    assert report["bytes"] == converted.stat().st_size
    assert report["sha256"] == sha256(converted.read_bytes())
    assert report["equality"]["arithmetic"] == "xnnpack"
    assert report["equality"]["kernels"].startswith("XNNPACK (")
    assert report["reference_equality"]["unequal"] == {}
    assert report["reference_equality"]["images"] == images
    assert report["one_arithmetic"]["operations"] > 3
    assert report["one_arithmetic"]["tried"] > 10_000
    metadata = read_metadata(converted.read_bytes())
    assert metadata is not None
    assert metadata.tried_forms is not None
    assert metadata.tried_forms.model_dump() == report["one_arithmetic"]
    assert set(report["accuracy"]["float_recall"]) == set(CLASSES)
    accuracy = report["accuracy"]
    lost = 100 * (accuracy["float_accuracy"] - accuracy["file_accuracy"])
    assert accuracy["drop_points"] == pytest.approx(lost)


def test_the_proof_is_printed_at_one_width(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exact.tflite"
    capsys.readouterr()
    options = ("--softmax", "exact", "--images", 1, *GENEROUS)
    assert run_command("convert", run, "--out", out, *options) == 0
    printed, complained = capsys.readouterr()
    assert complained == ""
    for claim in ("every tensor an integer", "builtin operators only", "byte for byte, on 1"):
        assert claim in printed
    assert "research use only" in printed
    named = ("wrote ", "next: ", "no guard: ")  # as long as the file's path
    assert max(len(line) for line in printed.splitlines() if not line.startswith(named)) <= 100
    metadata = read_metadata(out.read_bytes())
    assert metadata is not None
    assert metadata.softmax == "exact"


def test_accuracy_beyond_the_budget_is_exit_code_1_and_no_file(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    real = accuracy.judge

    def worse(labels: Any, _: object, __: object, names: list[str]) -> accuracy.Accuracies:
        labels = np.repeat(labels, 8)
        return real(labels, labels, (labels + 1) % len(names), names)

    monkeypatch.setattr(accuracy, "judge", worse)
    out, report = tmp_path / "m.tflite", tmp_path / "proof.json"
    out.write_bytes(b"an older file")
    line = refused(capfd, "convert", run, "--out", out, "--report", report, code=1)
    assert f"{out}: not written: integers lose" in line
    assert out.read_bytes() == b"an older file"
    proof = json.loads(report.read_text())
    assert proof["passed"] is False
    assert sum(layer["share"] for layer in proof["blame"]) == pytest.approx(1)
    assert files_below(tmp_path) == {"m.tflite", "proof.json"}


def test_a_run_named_by_a_dot_has_the_folders_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    out = tmp_path / "m.tflite"
    assert run_command("convert", ".", "--out", out, "--images", 1, *GENEROUS) == 0
    metadata = read_metadata(out.read_bytes())
    assert metadata is not None
    assert metadata.name == "my cells µ"


def test_a_bundled_run_is_proved_on_the_bundled_crops_and_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "package" / "tiny-cells")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "package")
    out = tmp_path / "m.tflite"
    assert run_command("convert", "tiny-cells", "--out", out, "--images", 2, *GENEROUS) == 0
    assert "reduced proof" in capsys.readouterr().out
    metadata = read_metadata(out.read_bytes())
    assert metadata is not None
    assert metadata.name == "tiny-cells"
    crops = len(labelled_as(scan(bundled.CROPS), CLASSES))
    assert 20 < crops < len(list(bundled.CROPS.glob("*/*")))  # not those of unknown classes
    assert f"integer, {crops} images: bundled crops (reduced proof)" in metadata.accuracy


def test_ctrl_c_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(equality, "default_outputs", interrupt)
    capfd.readouterr()
    assert run_command("convert", run, "--out", tmp_path / "m.tflite", "--images", 1) == 130
    assert capfd.readouterr().err.split() == ["interrupted"]
    assert files_below(tmp_path) == set()


def test_a_full_disk_is_one_line_and_leaves_nothing(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.tflite"
    with files_limited(65536):  # more than a probe, less than the model
        line = refused(capfd, "convert", run, "--out", out, "--images", 1, *GENEROUS)
    assert line.startswith(f"error: {out}: ")
    assert files_below(tmp_path) == set()
