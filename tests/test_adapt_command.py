"""`qlvit-edge adapt`: a run folder that is whole and right, or one line and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import files_below, refused, run_command
from small_run import CLASSES, cell_image
from two_microscopes import elsewhere, write_elsewhere, write_trained_run

from qlvit_edge.adaptation import (
    fine_tuning,
    run_folder,
    self_training,
    with_labels,
    without_labels,
)
from qlvit_edge.adaptation.cells import read_cells, what_they_show
from qlvit_edge.adaptation.pictures import pictures_below
from qlvit_edge.calibration import collect
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.training_images import read_training_images, trained_on
from qlvit_edge.modelfile.metadata import read_metadata
from qlvit_edge.training.checkpoint import load_checkpoint, read_run_config


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, and cells of another microscope with and without labels."""
    root = tmp_path_factory.mktemp("laboratory")
    write_trained_run(root)
    write_elsewhere(root / "slides", 9, labelled=False)
    write_elsewhere(root / "labelled", 6, start=2000, labelled=True)
    return root


@pytest.fixture(autouse=True, scope="module")
def _short() -> Iterator[None]:
    """As little training, and as few cells to calibrate on, as show that it is done."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_folder, "SAMPLE", 24)
        patched.setattr(collect, "ERROR_IMAGES", 2)
        patched.setattr(fine_tuning, "STEPS", 3)
        patched.setattr(with_labels, "STEPS", 3)
        patched.setattr(self_training, "STEPS", 2)
        patched.setattr(without_labels, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def fitted(laboratory: Path, _short: None) -> Path:
    """What fitting without labels leaves, one of the pictures being damaged."""
    (laboratory / "slides" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    arguments = ("--images", laboratory / "slides", "--out", laboratory / "fitted")
    assert run_command("adapt", laboratory / "run", *arguments) == 0
    return laboratory / "fitted"


def test_it_leaves_a_run_folder_that_says_what_it_was_fitted_to(
    fitted: Path, laboratory: Path
) -> None:
    before, after = load_checkpoint(laboratory / "run"), load_checkpoint(fitted)
    recorded = after.run.adapted_from
    assert recorded is not None
    assert recorded.checkpoint_sha256 == before.sha256
    assert recorded.name == "run"
    assert recorded.images == "slides"
    assert recorded.method == "statistics"
    assert recorded.cells == 9 * len(CLASSES)
    assert recorded.changed > 0.3
    assert recorded.before is None
    assert after.run.model_copy(update={"adapted_from": None}) == before.run
    assert {"calibration.json", "split.json", "training_images.json"} <= files_below(fitted)
    assert len(list((fitted / "cells").glob("*.png"))) == 24


def test_it_converts_and_is_proved_without_labels(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "proof.json"
    assert run_command("convert", fitted, "--out", tmp_path / "lab.tflite", "--report", report) == 0
    shown = capsys.readouterr().out
    assert "not measured" in shown
    found = json.loads(report.read_text())
    assert found["accuracy"]["measured"] is False
    assert found["sample"]["labelled"] is False
    assert found["reduced_proof"] is True
    assert found["equality"]["unequal"] == {}
    metadata = read_metadata((tmp_path / "lab.tflite").read_bytes())
    assert metadata is not None
    assert metadata.accuracy == {}
    assert "run, fitted to 36 unlabelled cells of slides" in metadata.training_data


def test_it_is_not_calibrated_on_the_microscope_it_comes_from(
    fitted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (fitted / "calibration.json").read_bytes()
    assert "--data" in refused(capfd, "calibrate", fitted)
    assert (fitted / "calibration.json").read_bytes() == before


@pytest.mark.slow
def test_the_same_seed_fits_the_same_network(
    fitted: Path, laboratory: Path, tmp_path: Path
) -> None:
    arguments = ("--images", laboratory / "slides", "--out", tmp_path / "again")
    assert run_command("adapt", laboratory / "run", *arguments) == 0
    assert load_checkpoint(tmp_path / "again").sha256 == load_checkpoint(fitted).sha256


def test_with_labels_it_says_how_right_it_is(
    laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lab"
    arguments = ("--images", laboratory / "slides", "--labelled", laboratory / "labelled")
    assert run_command("adapt", laboratory / "run", *arguments, "--out", out) == 0
    shown = capsys.readouterr()
    assert "Mean recall on 24 labelled cells" in shown.out
    assert "not known" not in shown.out
    recorded = read_run_config(out).adapted_from
    assert recorded is not None
    assert recorded.labelled == dict.fromkeys(CLASSES, 6)
    assert recorded.before is not None
    assert recorded.after is not None
    assert recorded.after.value >= recorded.before.value
    # What it learnt from is known again.
    listed = read_training_images(out)
    assert listed is not None
    learnt = [
        LabelledImage(path, path.name, 0) for path in (laboratory / "labelled").rglob("*.png")
    ]
    assert trained_on(learnt, listed, lambda: None) == {image.relative for image in learnt}
    earlier = read_training_images(laboratory / "run")
    assert earlier is not None
    assert earlier.known < listed.known


def refuse(
    capfd: pytest.CaptureFixture[str], laboratory: Path, out: Path, *arguments: object
) -> str:
    """Refused in one line, nothing written."""
    before = files_below(out.parent)
    line = refused(capfd, "adapt", laboratory / "run", *arguments, "--out", out)
    assert files_below(out.parent) == before
    return line


def test_too_few_cells_are_refused(
    laboratory: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    few = write_elsewhere(tmp_path / "few", 7, labelled=False)
    line = refuse(capfd, laboratory, tmp_path / "out", "--images", few, "--cells")
    assert "28 cells" in line
    assert "30" in line


def test_a_class_with_too_few_labels_is_refused_by_name(
    laboratory: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    labelled = Path(shutil.copytree(laboratory / "labelled", tmp_path / "labelled"))
    for path in sorted((labelled / "MONOCYTE").iterdir())[:2]:
        path.unlink()
    arguments = ("--images", laboratory / "slides", "--labelled", labelled)
    line = refuse(capfd, laboratory, tmp_path / "out", *arguments)
    assert "4 readable cells of class MONOCYTE" in line


def test_a_class_that_the_run_does_not_know_is_refused_with_the_way_to_teach_it(
    laboratory: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    labelled = Path(shutil.copytree(laboratory / "labelled", tmp_path / "labelled"))
    (labelled / "MONOCYTE").rename(labelled / "blasts")
    arguments = ("--images", laboratory / "slides", "--labelled", labelled)
    line = refuse(capfd, laboratory, tmp_path / "out", *arguments)
    assert "blasts" in line
    assert "train --from" in line


def test_one_picture_of_two_classes_is_refused(
    laboratory: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    labelled = Path(shutil.copytree(laboratory / "labelled", tmp_path / "labelled"))
    shutil.copy(next((labelled / "MONOCYTE").iterdir()), labelled / "LYMPHOCYTE" / "copy.png")
    arguments = ("--images", laboratory / "slides", "--labelled", labelled)
    assert "are one picture" in refuse(capfd, laboratory, tmp_path / "out", *arguments)


def test_what_is_there_already_stays(
    fitted: Path, laboratory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--images", laboratory / "slides")
    assert "already holds a run" in refuse(capfd, laboratory, fitted, *arguments)


def test_an_interruption_leaves_nothing_half_written(
    laboratory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qlvit_edge.adaptation.run_folder.calibrate", interrupted)
    arguments = ("--images", laboratory / "slides", "--out", tmp_path / "out")
    assert run_command("adapt", laboratory / "run", *arguments) == 130
    assert not files_below(tmp_path)


def field(seed: int) -> np.ndarray:
    """A field of view (480, 640, 3) with two cells far apart, as the other microscope shows it."""
    rng = np.random.default_rng(seed)
    image = np.full((480, 640, 3), 225, np.uint8)
    for left, label in ((60, 1), (400, 3)):  # the colours of nuclei
        top = int(rng.integers(80, 280))
        image[top : top + 90, left : left + 120] = cell_image(label, seed)
    return elsewhere(image)


def test_fields_are_told_and_cut_into_their_cells(tmp_path: Path, laboratory: Path) -> None:
    for number in range(6):
        picture = cv2.cvtColor(field(number), cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    pictures = pictures_below(tmp_path)
    assert what_they_show(pictures) == "fields"
    assert what_they_show(pictures_below(laboratory / "labelled")) == "cells"
    network = read_run_config(laboratory / "run").network
    found = read_cells(pictures, network, "fields", lambda: None)
    assert len(found.cells) == 12
    for cell in found.cells:
        assert cell.picture.shape[0] < 120
        assert cell.photograph.image.shape[0] > cell.picture.shape[0] / 2
        middle = cell.photograph.image[tuple(side // 2 for side in cell.photograph.image.shape[:2])]
        assert int(middle.astype(int).sum()) < 350  # stained, not background
