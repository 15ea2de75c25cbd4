"""`calibrate` fits a guard on images that training held out; `convert` puts it into the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import refused, run_command
from small_run import CLASSES, small_config, write_folder, write_run

from qlvit_edge.calibration.guard import LEAST_HELD_OUT, too_few
from qlvit_edge.calibration.guard_images import guard_images
from qlvit_edge.data.folder import ImageFolder, scan
from qlvit_edge.data.split import Split
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.training.checkpoint import RunConfig, load_checkpoint, write_run_config

PER_CLASS = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split]:
    root = tmp_path_factory.mktemp("guarded")
    split = write_run(root / "run", write_folder(root / "cells", PER_CLASS), small_config())
    run = load_checkpoint(root / "run").run
    training = run.training.model_copy(update={"validation": 0.4, "hold_out_draw": 2})
    write_run_config(root / "run", run.model_copy(update={"training": training}))
    return root, split


def config_of(root: Path) -> RunConfig:
    return load_checkpoint(root / "run").run


def test_a_guard_is_fitted_on_the_training_side_alone(made: tuple[Path, Split]) -> None:
    root, split = made
    folder = scan(root / "cells")
    chosen = guard_images(config_of(root), folder, split, 1000)
    training = {image.relative for image in chosen.training}
    held_out = {image.relative for image in chosen.held_out}
    assert not training & held_out
    assert training | held_out == set(split.train)
    assert len(held_out) >= LEAST_HELD_OUT
    few = guard_images(config_of(root), folder, split, 12)
    assert [image.label for image in few.training].count(0) == 12 // len(CLASSES)
    assert "limits need" in too_few(few.held_out)


def test_why_there_is_no_guard_is_said(made: tuple[Path, Split]) -> None:
    root, split = made
    run, folder = config_of(root), scan(root / "cells")
    none_held = run.model_copy(
        update={"training": run.training.model_copy(update={"validation": 0.0})}
    )
    assert "held no images out" in guard_images(none_held, folder, split, 100).missing
    elsewhere = ImageFolder(folder.root, folder.classes, folder.images[:9])
    assert "not there" in guard_images(run, elsewhere, split, 100).missing
    other = ImageFolder(folder.root, ("A", *folder.classes[1:]), folder.images)
    assert "other classes" in guard_images(run, other, split, 100).missing


@pytest.mark.slow
def test_calibrate_fits_what_convert_embeds(
    made: tuple[Path, Split], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, _ = made
    run, out = root / "run", tmp_path / "m.tflite"
    assert run_command("calibrate", run, "--images", 8, "--guard-images", 48) == 0
    assert "guard: fitted on 48 images of training" in capfd.readouterr().out
    convert = ("convert", run, "--out", out, "--images", 2, "--max-drop", 100)
    assert run_command(*convert) == 0
    with Classifier(out) as classifier:
        assert classifier.judges
        assert classifier.golden_pairs_hold()
        carried = classifier.metadata
    guard = json.loads((run / "guard.json").read_text())
    assert carried.guard is not None
    assert (carried.temperature, carried.guard.temperature) == (guard["guard"]["temperature"], 1)
    divided = guard["guard"]["logit_scale"] / guard["guard"]["temperature"]
    assert carried.guard.logit_scale == pytest.approx(divided, rel=1e-9)
    guard["calibration_sha256"] = "0" * 64
    (run / "guard.json").write_text(json.dumps(guard))
    assert "another calibration" in refused(capfd, *convert)
    assert run_command("calibrate", run, "--images", 8, "--guard-images", 0) == 0
    assert "no guard: none was asked for" in capfd.readouterr().out
    assert run_command(*convert) == 0
    assert "no guard" in capfd.readouterr().out
    with Classifier(out) as classifier:
        assert not classifier.judges
        assert classifier.metadata.temperature is None
