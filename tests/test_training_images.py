"""Images that were trained on are known again by content, whatever they are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import refused, run_command
from small_run import CLASSES, small_config, write_folder, write_run

from qlvit_edge import bundled
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.split import Split, fingerprint, load_split, select
from qlvit_edge.data.training_images import (
    DIGEST_BYTES,
    TRAINING_IMAGES_FILE,
    TrainingImages,
    digest,
    find_training_images,
    list_training_images,
    read_training_images,
    trained_on,
    write_training_images,
)
from qlvit_edge.errors import DataError
from qlvit_edge.evaluation.seen_images import SeenImages
from qlvit_edge.preprocess import decode
from qlvit_edge.training.checkpoint import read_run_config

# The small network has random weights: what integers cost it says nothing.
GENEROUS = ("--max-drop", 100)


def silent() -> None:
    """No progress bar."""


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run folder with its list, its data beside it."""
    root = tmp_path_factory.mktemp("calibrated")
    split = write_run(root / "run", write_folder(root / "data", 5), small_config())
    training = select(scan(root / "data"), split.train)
    listed = list_training_images(training, split.fingerprint, silent)
    write_training_images(root / "run", listed)
    assert run_command("calibrate", root / "run", "--images", 8) == 0
    return root


@pytest.fixture
def run(calibrated: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(calibrated, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "run" / "run.json"
    values = {**json.loads(config.read_text()), "data": str(tmp_path / "data")}
    config.write_text(json.dumps(values))
    return tmp_path / "run"


def renamed(run: Path, names: list[str], root: Path) -> Path:
    """Copy images under other names and write a split of them; the first five train."""
    copies = []
    for number, name in enumerate(names):
        copy = root / Path(name).parent / f"slide {number}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.parent / "data" / name, copy)
        copies.append(f"{copy.parent.name}/{copy.name}")
    firsts = [next(name for name in copies if name.startswith(label)) for label in CLASSES]
    test = sorted(set(copies) - set(firsts))
    split = Split(
        seed=0,
        test_fraction=0.5,
        classes=list(CLASSES),
        train=sorted(firsts),
        test=test,
        fingerprint=fingerprint(firsts, test, []),
    )
    (root.parent / "other.json").write_text(split.model_dump_json())
    return root.parent / "other.json"


def test_a_digest_is_of_pixels_and_shape() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(2, 8, 3)
    assert len(digest(pixels)) == DIGEST_BYTES
    assert digest(pixels) == digest(pixels.copy())
    assert digest(pixels) != digest(pixels.reshape(4, 4, 3))
    assert digest(pixels) != digest(pixels[::-1])


def test_a_copy_in_another_lossless_format_and_folder_is_known(tmp_path: Path) -> None:
    folder = scan(write_folder(tmp_path / "data", 2))
    listed = list_training_images(folder.images[:3], "f", silent)
    assert (listed.images, len(listed.known)) == (3, 3)
    pixels = cv2.imread(str(folder.images[1].path))
    copies = []
    for name, image in (("a.bmp", pixels), ("b.tiff", pixels), ("c.png", pixels ^ 1)):
        assert cv2.imwrite(str(tmp_path / name), image)
        copies.append(LabelledImage(tmp_path / name, f"X/{name}", 0))
    assert trained_on(copies, listed, silent) == {"X/a.bmp", "X/b.tiff"}


def test_convert_refuses_renamed_training_images(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    split = renamed(run, load_split(run / "split.json").train, tmp_path / "renamed")
    options = ("--data", tmp_path / "renamed", "--split", split, *GENEROUS)
    for command in (("convert", run, "--out", tmp_path / "m.tflite"), ("compare", run)):
        line = refused(capfd, *command, *options)
        assert "on its test side that this run was trained on" in line
    assert not (tmp_path / "m.tflite").exists()


def test_trained_images_among_others_are_left_out_and_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = load_split(run / "split.json")
    names = [*own.train[:1], *own.train[5:6], *own.train[9:10], *own.train[-2:], *own.test]
    split = renamed(run, names, tmp_path / "mixed")
    leaked = len(load_split(split).test) - len(own.test)
    report = tmp_path / "proof.json"
    options = ("--data", tmp_path / "mixed", "--split", split, "--report", report, *GENEROUS)
    assert run_command("convert", run, "--out", tmp_path / "m.tflite", *options) == 0
    sample = json.loads(report.read_text())["sample"]
    assert (sample["trained_on"], sample["images"]) == (leaked, len(own.test))
    assert leaked > 0
    assert json.loads(report.read_text())["reduced_proof"]
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"{leaked} of the side were trained on" in printed
    assert "another split" in printed


def test_a_run_without_its_list_is_held_against_the_files_of_its_training(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run / TRAINING_IMAGES_FILE).unlink()
    split = renamed(run, load_split(run / "split.json").train, tmp_path / "renamed")
    options = ("--data", tmp_path / "renamed", "--split", split, *GENEROUS)
    out = tmp_path / "m.tflite"
    assert "was trained on" in refused(capfd, "convert", run, "--out", out, *options)
    (tmp_path / "data").rename(tmp_path / "gone")
    assert run_command("convert", run, "--out", out, *options) == 0
    printed = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert "reduced proof; training images told apart by name only" in printed


def test_a_list_of_another_training_is_refused(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = read_training_images(run)
    assert listed is not None
    other = listed.model_copy(update={"split_fingerprint": "0" * 64})
    write_training_images(run, other)
    line = refused(capfd, "convert", run, "--out", tmp_path / "m.tflite", *GENEROUS)
    assert "its training images and its split are of two trainings" in line


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"digests": "not base64!"}, "the digests are not base64"),
        ({"digests": "AAAA"}, "the digests are cut off"),
        ({"digests": ""}, "the digests are cut off"),
        ({"images": 1}, "there are more digests than images"),
        ({"version": 2}, "version"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_list_is_refused(run: Path, changes: dict[str, object], finding: str) -> None:
    path = run / TRAINING_IMAGES_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(DataError, match=finding):
        read_training_images(run)


def test_the_list_is_found_beside_model_or_split(run: Path, tmp_path: Path) -> None:
    split = load_split(run / "split.json")
    elsewhere = tmp_path / "m.tflite"
    found = find_training_images(split.fingerprint, [elsewhere, run / "split.json"])
    assert found == read_training_images(run)
    assert find_training_images(split.fingerprint, [elsewhere]) is None
    assert find_training_images("another", [run / "split.json"]) is None
    assert find_training_images(None, [run / "split.json"]) is None


def test_validate_knows_training_images_by_the_list_and_by_the_files(tmp_path: Path) -> None:
    trained = scan(write_folder(tmp_path / "data", 2)).images
    pixels = cv2.imread(str(trained[0].path))
    copies = []
    for name, image in (("a.bmp", pixels), ("b.png", pixels ^ 1)):
        assert cv2.imwrite(str(tmp_path / name), image)
        copies.append(LabelledImage(tmp_path / name, f"X/{name}", 0))
    same = shutil.copy(trained[0].path, tmp_path / "same.png")
    copies.append(LabelledImage(Path(same), "X/same.png", 0))

    def told(seen: SeenImages) -> list[bool]:
        return [seen.has(image, decode(image.path)) for image in copies]

    listed = list_training_images(trained, "f", silent)
    assert told(SeenImages(listed, None)) == [True, False, True]
    assert told(SeenImages(None, trained)) == [False, False, True]  # byte for byte
    nothing = SeenImages(None, None)
    assert (told(nothing), nothing.known) == ([False] * 3, False)


def test_train_writes_the_list_of_its_whole_training_side(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", 4)
    split, out = tmp_path / "split.json", tmp_path / "run"
    assert run_command("data", "split", data, "--out", split) == 0
    options = ("--data", data, "--split", split, "--model", "nano", "--input-size", 32)
    assert run_command("train", *options, "--epochs", 1, "--batch", 4, "--out", out) == 0
    made, listed = load_split(split), read_training_images(out)
    assert listed is not None
    assert listed == list_training_images(select(scan(data), made.train), made.fingerprint, silent)
    test = select(scan(data), made.test)
    assert trained_on(test, listed, silent) == set()


@pytest.mark.parametrize("name", bundled.names())
def test_bundled_models_list_what_they_were_trained_on(name: str) -> None:
    folder = bundled.FOLDER / name
    split, listed = load_split(folder / "split.json"), read_training_images(folder)
    assert listed is not None
    assert isinstance(listed, TrainingImages)
    assert listed.split_fingerprint == split.fingerprint
    if read_run_config(folder).started_from is None:
        assert listed.images == len(listed.known) == len(split.train)
    else:  # what it started from was trained on images too, some of them the same
        assert listed.images >= len(listed.known) > len(split.train)
    assert trained_on(scan(bundled.CROPS).images, listed, silent) == set()
