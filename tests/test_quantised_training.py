"""`train --quantise`: a calibrated run in, a run folder with its own ranges out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
import torch
from command import refused, run_command
from small_run import cell_image, small_config, write_folder, write_run

from qlvit_edge.calibration.collect import calibrate
from qlvit_edge.calibration.file import TRAINED_FORMAT, calibration_of, load_calibration
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import Split, load_split, select
from qlvit_edge.data.training_images import list_training_images, write_training_images
from qlvit_edge.files import write_text
from qlvit_edge.quantised import loop
from qlvit_edge.quantised.answers import integer_answers
from qlvit_edge.quantised.state import best_row
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    CALIBRATION_FILE,
    LAST_FILE,
    Checkpoint,
    load_checkpoint,
    read_run_config,
    write_run_config,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run `float` and its cells."""
    root = tmp_path_factory.mktemp("quantised")
    cells = write_folder(root / "cells", 8)
    split = write_run(root / "float", cells, small_config())
    run = read_run_config(root / "float")
    held = run.training.model_copy(update={"validation": 0.3, "hold_out_draw": 2})
    write_run_config(root / "float", run.model_copy(update={"training": held}))
    side = select(scan(cells), split.train)
    listed = list_training_images(side, split.fingerprint, lambda: None)
    write_training_images(root / "float", listed)
    checkpoint = load_checkpoint(root / "float")
    found = calibrate(checkpoint, side[:4], "minmax", lambda: None)
    write_text(root / "float" / CALIBRATION_FILE, found.model_dump_json())
    return root


def arguments(place: Path, out: Path, *options: object) -> list[object]:
    own = ("--from", place / "float", "--out", out, "--batch", 8, "--rate", 0.001)
    return ["train", "--quantise", *own, *options]


def without_report(patch: pytest.MonkeyPatch) -> None:
    """Leave out the figures of the float network, which are those of any training."""
    patch.setattr(
        "qlvit_edge.quantised.session.finish",
        lambda run, out, *others: write_text(out / "metrics.json", "{}"),
    )


def changed(checkpoint: Checkpoint, other: Checkpoint) -> set[str]:
    mine, there = checkpoint.network.state_dict(), other.network.state_dict()
    return {name for name, tensor in mine.items() if not torch.equal(tensor, there[name])}


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """The run after two epochs as integers, whichever came out best."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "best_row", lambda history: len(history) - 1)
        patch.setattr("qlvit_edge.quantised.outcome.best_row", lambda history: len(history) - 1)
        assert run_command(*arguments(place, place / "out", "--epochs", 2)) == 0
    return place / "out"


def test_the_folder_says_what_it_is(place: Path, trained: Path) -> None:
    start, made = load_checkpoint(place / "float"), load_checkpoint(trained)
    assert made.run.quantised is not None
    assert (made.run.quantised.form, made.run.quantised.observer) == ("fast", "minmax")
    assert made.run.started_from is not None
    assert made.run.started_from.sha256 == start.sha256
    assert made.run.network == start.run.network
    assert made.run.training.seed == start.run.training.seed
    assert made.run.training.epochs == 2
    # Weights, gains and kernels are trained; statistics and τ are constants of the device.
    names = changed(made, start)
    assert {"stem.convolution.weight", "blocks.0.norm.weight", "head.linear.bias"} <= names
    assert not any("running" in name or "temperature" in name for name in names)
    summary = json.loads((trained / "metrics.json").read_text())
    assert summary["integers"]["best_epoch"] == summary["best_epoch"] == 2
    assert summary["integers"]["test_images"] == summary["test_images"] == 8
    rows = (trained / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]


def test_the_file_has_the_ranges_that_were_trained(place: Path, trained: Path) -> None:
    """What is lowered from the folder answers as the last state of the training did."""
    checkpoint, before = load_checkpoint(trained), calibration_of(load_checkpoint(place / "float"))
    found = calibration_of(checkpoint)
    assert found.format == TRAINED_FORMAT
    assert found.trained.keys() == before.tensors.keys()
    assert found.anchors == before.anchors
    moved = [name for name, ends in found.trained.items() if ends != before.range(name)]
    assert len(moved) > 30
    assert all(found.range(name) == ends for name, ends in found.trained.items())
    assert found.ranges() == found.trained
    split = load_split(trained / "split.json")
    test = select(scan(place / "cells"), split.test)
    answers = integer_answers(integer_graph(checkpoint, found, "fast"), test, small_config())
    summary = json.loads((trained / "metrics.json").read_text())["integers"]
    assert summary["quantised"] == answers.accuracy
    assert summary["changed"] == round(len(test) * (summary["floats"] - answers.accuracy))


def test_calibrating_it_again_keeps_what_was_trained(
    place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    before = calibration_of(load_checkpoint(copy))
    command = ["calibrate", copy, "--images", 4, "--guard-images", 0]
    assert run_command(*command, "--observer", "percentile") == 0
    after = calibration_of(load_checkpoint(copy))
    assert after.observer == "percentile"
    assert (after.trained, after.anchors) == (before.trained, before.anchors)
    assert after.errors()
    assert "compare observers on the run it was trained from" in refused(
        capfd, *command[:4], "--compare"
    )
    (copy / CALIBRATION_FILE).unlink()
    assert "the ranges that this run was trained with" in refused(capfd, *command)


def test_a_run_that_was_stopped_gives_the_numbers_of_one_that_was_not(
    place: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    without_report(monkeypatch)
    monkeypatch.setattr(loop, "best_row", lambda history: len(history) - 1)
    monkeypatch.setattr("qlvit_edge.quantised.outcome.best_row", lambda history: len(history) - 1)
    real, out = loop.integer_answers, tmp_path / "out"
    calls: list[int] = []

    def stopping(*given: object) -> object:
        calls.append(1)
        if len(calls) == 3:  # the second epoch is trained, and not yet on the disk
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "integer_answers", stopping)
    asked = arguments(place, out, "--epochs", 2)
    assert run_command(*asked) == 130
    assert (out / LAST_FILE).exists()
    assert "add --resume" in _refusal(capfd, *asked)
    # The images have moved since; other ones of the same names are not gone on with.
    moved = shutil.copytree(place / "cells", tmp_path / "cells")
    image = moved / load_split(out / "split.json").train[0]
    kept = image.read_bytes()
    assert cv2.imwrite(str(image), cell_image(0, 99))
    assert "1 training image" in _refusal(capfd, *asked, "--resume", "--data", moved)
    image.write_bytes(kept)
    assert run_command(*asked, "--resume", "--data", moved) == 0
    for name in (BEST_FILE, CALIBRATION_FILE):
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name
    assert "resume with the options of that run" in _refusal(
        capfd, *asked, "--resume", "--rate", 0.5
    )


def _refusal(capfd: pytest.CaptureFixture[str], *command: object) -> str:
    """Run a command that must end with code 2; returns all that it says of that."""
    capfd.readouterr()
    assert run_command(*command) == 2
    return capfd.readouterr().err


def test_the_calibrated_run_is_handed_out_where_no_epoch_is_better(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = loop._validate
    worse = iter([1.0, 0.5])

    def judged(*given: object) -> dict[str, float]:
        return {**real(*given), "validation_accuracy": next(worse)}  # type: ignore[arg-type]

    without_report(monkeypatch)
    monkeypatch.setattr(loop, "_validate", judged)
    out = tmp_path / "out"
    assert run_command(*arguments(place, out, "--epochs", 1)) == 0
    start, made = load_checkpoint(place / "float"), load_checkpoint(out)
    assert changed(made, start) == set()
    trained, calibrated = calibration_of(made).trained, calibration_of(start).ranges()
    assert trained is not None
    for name, ends in trained.items():
        low, high = calibrated[name]
        assert ends == pytest.approx((min(low, 0.0), max(high, 0.0))), name  # as they are quantised
    said = capfd.readouterr().out
    assert "the run as it was calibrated: no epoch was better" in said
    assert "100.00% before, 100.00% after" in said


def test_the_epoch_with_most_right_answers_is_handed_out() -> None:
    rows = [(0.9, 0.5), (0.8, 0.1), (0.9, 0.4), (0.9, 0.6)]
    history = [{"validation_accuracy": a, "validation_loss": b} for a, b in rows]
    assert [best_row(history[:count]) for count in (1, 2, 3, 4)] == [0, 0, 2, 2]


def test_what_does_not_go_together_is_refused(
    place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    own = ("train", "--quantise", "--out", out)
    assert "--from RUN" in _refusal(capfd, *own)
    line = _refusal(capfd, *own, "--from", place / "float", "--validation", 0.2)
    assert "--validation is as in the run that --quantise trains on" in line
    assert "trained as integers already" in refused(capfd, *own, "--from", trained)
    bare = shutil.copytree(place / "float", tmp_path / "bare")
    (bare / CALIBRATION_FILE).unlink()
    assert "qlvit-edge calibrate" in refused(capfd, *own, "--from", bare)
    other = shutil.copytree(place / "cells", tmp_path / "other")
    (other / "MONOCYTE").rename(other / "BLAST")
    line = refused(capfd, *own, "--from", place / "float", "--data", other)
    assert "fine-tune on images of the same classes" in line
    assert not out.exists()
    assert "Missing option '--split'" in _refusal(capfd, "train", "--data", other, "--out", out)


def test_a_range_that_is_none_is_refused(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    path = copy / CALIBRATION_FILE
    content = json.loads(path.read_text())
    content["trained"]["head/pooled"] = [2.0, 1.0]
    path.write_text(json.dumps(content))
    with pytest.raises(Exception, match="head/pooled: range from 2 to 1"):
        load_calibration(path, load_checkpoint(copy).sha256)


def test_a_split_of_the_run_is_kept(place: Path, trained: Path) -> None:
    of_run, kept = (
        Split.model_validate_json((p / "split.json").read_text())
        for p in (place / "float", trained)
    )
    assert of_run == kept
