"""`train --quantise`: a calibrated run in, a run folder with its own ranges out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from command import files_below, refused, run_command
from full_disk import files_limited
from quantised_run import arguments, calibrated_run, changed, without_report
from small_run import cell_image, small_config

from qlvit_edge.calibration.file import TRAINED_FORMAT, calibration_of, load_calibration
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import Split, load_split, select
from qlvit_edge.quantised import loop, session
from qlvit_edge.quantised.answers import integer_answers
from qlvit_edge.quantised.judge import Judge, divergence
from qlvit_edge.quantised.outcome import Integers
from qlvit_edge.quantised.state import best_row
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    CALIBRATION_FILE,
    LAST_FILE,
    load_checkpoint,
    read_run_config,
    write_run_config,
)
from qlvit_edge.training.history import recorded_history
from qlvit_edge.training.state import Row


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run `float` and its cells."""
    return calibrated_run(tmp_path_factory.mktemp("quantised"))


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
    real, out = Judge.row, tmp_path / "out"
    calls: list[int] = []

    def stopping(judge: Judge, graph: Graph) -> Row:
        calls.append(1)
        if len(calls) == 3:  # the second epoch is trained, and not yet on the disk
            raise KeyboardInterrupt
        return real(judge, graph)

    monkeypatch.setattr(Judge, "row", stopping)
    asked = arguments(place, out, "--epochs", 2)
    assert run_command(*asked) == 130
    assert (out / LAST_FILE).exists()
    # What is told of it counts epochs trained, and has the best from the weights that are kept.
    recorded = recorded_history(out)
    assert [row["epoch"] for row in recorded.rows] == [1]
    assert recorded.best_epoch == 1
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
    real = Judge.row
    further = iter([0.01, 0.02])

    def judged(judge: Judge, graph: Graph) -> Row:
        return {**real(judge, graph), "validation_accuracy": 1.0, "divergence": next(further)}

    without_report(monkeypatch)
    monkeypatch.setattr(Judge, "row", judged)
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
    assert "the run as it was calibrated: no epoch was closer to float" in said
    assert "0.0100 before, 0.0100 after" in said


@pytest.mark.parametrize(
    ("best", "before", "after", "warning"),
    [
        (2, 0, 10, "right on 10 fewer test images than the calibration alone"),
        (1, -1, 0, "right on 1 fewer test image than the calibration alone"),
        (1, 3, 3, "right on no more test images than the calibration alone"),
        (1, 3, 2, None),
        (0, 3, 3, None),
    ],
)
def test_a_training_that_was_no_gain_is_not_said_to_be_one(
    best: int,
    before: int,
    after: int,
    warning: str | None,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = Integers(
        **{"test_images": 100, "floats": 0.9, "calibrated": 0.9 - before / 100},
        **{"quantised": 0.9 - after / 100, "changed_before": before, "changed": after},
        **{"best_epoch": best, "epochs": 2, "divergence_before": 0.02, "divergence": 0.01},
    )
    monkeypatch.setattr(session, "run_quantised", lambda *given: found)
    command = [*arguments(place, tmp_path / "out"), "--quantise", "exact"]
    assert run_command(*command) == 0
    said = capfd.readouterr()
    convert = f"qlvit-edge convert {place / 'float'} --out model.tflite --softmax exact"
    if warning is None:
        assert "warning" not in said.err
        assert convert not in said.out
        assert f"next: qlvit-edge calibrate {tmp_path / 'out'}" in said.out
    else:
        assert said.err.startswith(f"warning: these integers are {warning}, though")
        assert f"next: {convert}" in said.out
        assert "qlvit-edge calibrate" not in said.out


def test_the_epoch_closest_to_float_is_handed_out() -> None:
    """However many answers another has right on images that the run knows the like of."""
    rows = [(0.9, 0.5), (0.95, 0.6), (0.8, 0.4), (0.9, 0.4)]
    history = [{"validation_accuracy": a, "divergence": d} for a, d in rows]
    assert [best_row(history[:count]) for count in (1, 2, 3, 4)] == [0, 0, 2, 2]


def test_divergence_is_that_of_kullback_and_leibler() -> None:
    taught, found = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]]) + 7
    wanted = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0]
    assert divergence(taught, found) == pytest.approx(wanted, abs=1e-12)


def test_a_step_is_that_of_the_runs_settings(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rate, clip and average are as run.json records them, which is as in the float run."""
    start = shutil.copytree(place / "float", tmp_path / "start")
    run = read_run_config(start)
    settings = {"warm_up": 0.5, "gradient_clip": 0.75, "average_decay": 0.25}
    changed = run.training.model_copy(update=settings)
    write_run_config(start, run.model_copy(update={"training": changed}))
    rates, clips, decays = [], [], []
    real, clip = loop.learning_rate, torch.nn.utils.clip_grad_norm_

    class Average(loop.MovingAverage):
        def __init__(self, average: torch.nn.Module, decay: float) -> None:
            decays.append(decay)
            super().__init__(average, decay)

    def noted_rate(peak: float, progress: float, warm_up: float) -> float:
        rates.append(warm_up)
        return real(peak, progress, warm_up)

    def noted_clip(parameters: object, norm: float) -> object:
        clips.append(norm)
        return clip(parameters, norm)  # type: ignore[arg-type]

    without_report(monkeypatch)
    monkeypatch.setattr(loop, "MovingAverage", Average)
    monkeypatch.setattr(loop, "learning_rate", noted_rate)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted_clip)
    own = ("--from", start, "--batch", 8, "--epochs", 1, "--images-per-epoch", 8)
    assert run_command("train", "--quantise", *own, "--out", tmp_path / "out") == 0
    assert (rates, clips, decays) == ([0.5], [0.75], [0.25])
    recorded = read_run_config(tmp_path / "out").training
    assert {name: getattr(recorded, name) for name in settings} == settings


def test_a_disk_that_fills_leaves_weights_and_ranges_of_one_epoch(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The ranges are the larger file: where they do not fit, the weights stay too."""
    real, out = session._write_best, tmp_path / "out"
    sizes: list[int] = []

    def filling(folder: Path, *others: Any) -> None:
        if not sizes:
            real(folder, *others)
            sizes.extend((folder / name).stat().st_size for name in (BEST_FILE, CALIBRATION_FILE))
            return
        with files_limited(sum(sizes) // 2):
            real(folder, *others)

    without_report(monkeypatch)
    monkeypatch.setattr(session, "_write_best", filling)
    monkeypatch.setattr(loop, "best_row", lambda history: len(history) - 1)
    line = _refusal(capfd, *arguments(place, out, "--epochs", 1)).splitlines()[-1]
    larger = (BEST_FILE, CALIBRATION_FILE)[sizes[1] > sizes[0]]
    assert line == f"error: {out}/{larger}: File too large; check the path and the disk"
    kept = load_checkpoint(out)
    assert changed(kept, load_checkpoint(place / "float")) == set()
    assert calibration_of(kept).trained
    assert not [name for name in files_below(out) if name.startswith(".")]


def test_what_does_not_go_together_is_refused(
    place: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    own = ("train", "--quantise", "--out", out)
    assert "--from RUN" in _refusal(capfd, *own)
    line = _refusal(capfd, *own, "--from", place / "float", "--validation", 0.2)
    assert "--validation is not chosen with --quantise" in line
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
