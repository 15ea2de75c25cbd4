"""`calibrate --compare`: every observer, on images that are neither calibration nor test."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command import refused, run_command
from small_run import small_config, write_folder, write_run

from qlvit_edge.calibration.collect import observe
from qlvit_edge.calibration.evaluation_images import evaluation_images
from qlvit_edge.calibration.images import choose_images, files_elsewhere
from qlvit_edge.calibration.observers import OBSERVERS
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split
from qlvit_edge.files import sha256
from qlvit_edge.preprocess import decode
from qlvit_edge.training.checkpoint import HOLD_OUT_DRAW, Checkpoint, load_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder without calibration; 9 training and 3 test images a class beside it."""
    root = tmp_path_factory.mktemp("compared")
    write_run(root / "run", write_folder(root / "cells", 12), small_config())
    return root / "run"


def test_every_observer_is_measured_and_nothing_is_calibrated(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("calibrate", run, "--images", 8, "--compare", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["observer"] for row in found["rows"]] == list(OBSERVERS)
    assert found["images"] == 28  # 36 training images less 8
    assert found["origin"] == "training images that calibration did not use"
    assert found["best"] in OBSERVERS
    for row in found["rows"]:
        assert 0 <= row["accuracy"] <= 1
        assert row["worst_sqnr_db"] == min(row["sqnr_db"].values())
        assert row["sqnr_db"][row["worst_layer"]] == row["worst_sqnr_db"]
    by_name = {row["observer"]: row for row in found["rows"]}
    assert by_name["mse"]["agreement"] > 0.7
    assert by_name["minmax"]["agreement"] > 0.7
    assert not (run / "calibration.json").exists()
    assert decode(run / "calibration_compare.png").std() > 5


def test_the_table_names_the_images_and_the_best(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("calibrate", run, "--images", 8, "--compare", "--judge-images", 8) == 0
    shown = capsys.readouterr().out
    assert "Observers on 8 images" in shown
    assert "float network" in shown
    assert "best: " in shown


def test_judged_images_are_neither_calibration_nor_test_images(run: Path, tmp_path: Path) -> None:
    checkpoint, split = load_checkpoint(run), load_split(run / "split.json")
    data = Path(shutil.copytree(checkpoint.run.data, tmp_path / "data"))
    images, _ = choose_images(scan(data), [split], 8)
    calibration = observe(checkpoint, images, lambda: None).calibration
    # A training image that calibration does not use becomes a copy of one that it does use.
    unused = next(name for name in split.train if name not in calibration.images)
    shutil.copy(data / next(iter(calibration.images)), data / unused)
    chosen = evaluation_images(checkpoint, scan(data), [split], calibration, 100)
    names = {image.relative for image in chosen.images}
    assert names == set(split.train) - set(calibration.images) - {unused}
    contents = {sha256(image.path.read_bytes()) for image in chosen.images}
    assert not contents & set(calibration.images.values())


def test_renamed_test_images_elsewhere_judge_nothing(run: Path, tmp_path: Path) -> None:
    checkpoint, split = load_checkpoint(run), load_split(run / "split.json")
    data = Path(checkpoint.run.data)
    images, _ = choose_images(scan(data), [split], 8)
    calibration = observe(checkpoint, images, lambda: None).calibration
    renamed = Path(shutil.copytree(data, tmp_path / "renamed"))
    for path in [*renamed.glob("*/*")]:
        path.rename(path.with_name(f"copy-{path.name}"))
    elsewhere = files_elsewhere(renamed, data, split)
    chosen = evaluation_images(checkpoint, scan(renamed), [split], calibration, 100, elsewhere)
    tested = {sha256((data / name).read_bytes()) for name in split.test}
    assert chosen.images
    assert not tested & {sha256(image.path.read_bytes()) for image in chosen.images}
    assert chosen.origin == "images that calibration did not use"


def test_images_held_out_for_validation_are_preferred(run: Path) -> None:
    checkpoint, split = load_checkpoint(run), load_split(run / "split.json")

    def trained(draw: int | None) -> Checkpoint:
        settings = {"validation": 0.4, "hold_out_draw": draw}
        training = checkpoint.run.training.model_copy(update=settings)
        return replace(checkpoint, run=checkpoint.run.model_copy(update={"training": training}))

    now, before = trained(HOLD_OUT_DRAW), trained(None)
    folder = scan(Path(checkpoint.run.data))
    images, _ = choose_images(folder, [split], 4)
    calibration = observe(checkpoint, images, lambda: None).calibration
    chosen = evaluation_images(now, folder, [split], calibration, 100)
    assert "validation" not in chosen.origin  # too few of a hundred
    chosen = evaluation_images(now, folder, [split], calibration, 12)
    assert chosen.origin == "images that training held out for validation"
    # A run that drew them otherwise was trained on some of these.
    chosen = evaluation_images(before, folder, [split], calibration, 12)
    assert "validation" not in chosen.origin


def test_refusals(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = refused(capfd, "calibrate", run, "--compare", "--images", 36)
    assert "no image is left to judge by" in line
    other = write_folder(tmp_path / "other", 2)
    (other / "LYMPHOCYTE").rename(other / "LYMPHOID")
    line = refused(capfd, "calibrate", run, "--compare", "--data", other)
    assert "has classes EOSINOPHIL, LYMPHOID" in line
    capfd.readouterr()
    assert run_command("calibrate", run, "--json") == 2
    assert "--json belongs to --compare" in capfd.readouterr().err
