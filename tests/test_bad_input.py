"""What `train`, `calibrate` and `convert` refuse: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command import files_below, refused, run_command
from full_disk import files_limited
from small_run import cell_image, small_config, write_folder, write_run

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.model import configs
from qlvit_edge.training.checkpoint import load_checkpoint, load_tensors, save_tensors


@pytest.fixture(autouse=True)
def _small_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images (`cells`), their split and a calibrated run."""
    root = tmp_path_factory.mktemp("original")
    split = write_run(root / "run", write_folder(root / "cells", 4), small_config())
    (root / "split.json").write_text(split.model_dump_json())
    assert run_command("calibrate", root / "run", "--images", 4) == 0
    return root


@pytest.fixture
def place(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; its run still names the original's images."""
    return Path(shutil.copytree(original, tmp_path / "place"))


def _train(place: Path, **changes: Path) -> list[object]:
    named = {"data": place / "cells", "split": place / "split.json", "out": place / "new"}
    options = [part for name, path in {**named, **changes}.items() for part in (f"--{name}", path)]
    return ["train", *options, "--epochs", 1]


def _calibrate(place: Path, run: str | Path = "run") -> list[object]:
    return ["calibrate", place / run, "--data", place / "cells", "--images", 4]


def _convert(place: Path, out: str | Path = "new/model.tflite") -> list[object]:
    return ["convert", place / "run", "--data", place / "cells", "--out", place / out]


COMMANDS = {"train": _train, "calibrate": _calibrate, "convert": _convert}


def _missing_folder(place: Path) -> Path:
    shutil.rmtree(place / "cells")
    return place / "cells"


def _empty_folder(place: Path) -> Path:
    _missing_folder(place).mkdir()
    return place / "cells"


def _one_class(place: Path) -> Path:
    for folder in sorted((place / "cells").iterdir())[1:]:
        shutil.rmtree(folder)
    return place / "cells"


def _class_of_one_image(place: Path) -> Path:
    folder = place / "cells" / "MONOCYTE"
    for image in sorted(folder.iterdir())[1:]:
        image.unlink()
    return folder


def _corrupt(place: Path, side: str) -> Path:
    name = json.loads((place / "split.json").read_text())[side][0]
    path = place / "cells" / name
    path.write_bytes(path.read_bytes()[:600])
    return path


def _corrupt_training_image(place: Path) -> Path:
    return _corrupt(place, "train")


def _corrupt_test_image(place: Path) -> Path:
    return _corrupt(place, "test")


FOLDERS: dict[Callable[[Path], Path], str] = {
    _missing_folder: "no such folder",
    _empty_folder: "holds no class folders",
    _one_class: "holds one class only",
    _class_of_one_image: "has one image only",
}


def _refused_and_nothing_left(
    capfd: pytest.CaptureFixture[str], place: Path, arguments: list[object]
) -> str:
    before = files_below(place)
    calibration = (place / "run" / "calibration.json").read_bytes()
    line = refused(capfd, *arguments)
    # A folder that was made for the result may stay; files may not.
    assert {name for name in files_below(place) - before if (place / name).is_file()} == set()
    assert (place / "run" / "calibration.json").read_bytes() == calibration
    return line


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("spoil", FOLDERS, ids=lambda spoil: spoil.__name__.strip("_"))
def test_folders_that_are_no_data_set(
    command: str,
    spoil: Callable[[Path], Path],
    place: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    subject = spoil(place)
    line = _refused_and_nothing_left(capfd, place, COMMANDS[command](place))
    assert line.startswith(f"error: {subject}: ")
    assert FOLDERS[spoil] in line
    assert not (place / "new" / "run.json").exists()


@pytest.mark.parametrize(
    ("command", "spoil"),
    [
        ("train", _corrupt_training_image),
        ("train", _corrupt_test_image),
        ("calibrate", _corrupt_training_image),
        ("convert", _corrupt_test_image),
    ],
)
def test_a_corrupt_image_is_named(
    command: str,
    spoil: Callable[[Path], Path],
    place: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    subject = spoil(place)
    line = _refused_and_nothing_left(capfd, place, COMMANDS[command](place))
    assert line.startswith(f"error: {subject}: ")
    assert "replace or remove the file" in line
    assert not list((place / "new").glob("*"))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _randomise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _write_version_2(path: Path) -> None:
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, {**header, "format": 2})


def _write_other_network(path: Path) -> None:
    _, header = load_tensors(path)
    save_tensors(path, {"x": torch.zeros(3)}, header)


def _write_nan(path: Path) -> None:
    tensors, header = load_tensors(path)
    name = next(iter(tensors))
    save_tensors(path, {**tensors, name: torch.full_like(tensors[name], torch.nan)}, header)


CHECKPOINTS: dict[Callable[[Path], None], str] = {
    _truncate: "cannot be read",
    _randomise: "cannot be read",
    _write_version_2: "has format 2, this version reads 1",
    _write_other_network: "does not fit run.json",
    _write_nan: "not finite",
    Path.unlink: "is missing",
}


@pytest.mark.parametrize("command", ["calibrate", "convert"])
@pytest.mark.parametrize("spoil", CHECKPOINTS, ids=lambda spoil: spoil.__name__.strip("_"))
def test_checkpoints_that_cannot_be_used(
    command: str, spoil: Callable[[Path], None], place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = place / "run" / "best.safetensors"
    spoil(path)
    line = _refused_and_nothing_left(capfd, place, COMMANDS[command](place))
    assert line.startswith(f"error: {path}: ")
    assert CHECKPOINTS[spoil] in line


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("", "is not JSON"),
        ('{"format": 2}', "has format 2, this version reads 1"),
        ('{"format": 1}', "network: Field required"),
        (None, "holds no run.json"),
    ],
)
def test_run_folders_that_cannot_be_used(
    content: str | None, finding: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = place / "run" / "run.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    for command in ("calibrate", "convert"):
        line = _refused_and_nothing_left(capfd, place, COMMANDS[command](place))
        assert finding in line


def test_a_run_folder_that_is_not_there(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no such run folder" in refused(capfd, *_calibrate(place, "gone"))
    assert "a file, not a run folder" in refused(capfd, *_calibrate(place, "split.json"))


def test_a_last_checkpoint_of_another_version_is_not_resumed(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(*_train(place)) == 0
    _write_version_2(place / "new" / "last.safetensors")
    before = (place / "new" / "last.safetensors").read_bytes()
    line = _refused_and_nothing_left(capfd, place, [*_train(place), "--resume"])
    assert "last.safetensors: has format 2" in line
    _truncate(place / "new" / "last.safetensors")
    assert "cannot be read" in refused(capfd, *_train(place), "--resume")
    assert len(before) > 1000


def test_a_calibration_of_another_checkpoint(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = place / "run" / "best.safetensors"
    tensors, header = load_tensors(weights)
    save_tensors(weights, tensors, {**header, "epoch": 7})
    line = _refused_and_nothing_left(capfd, place, _convert(place))
    assert f"{place / 'run' / 'calibration.json'}: was made from another checkpoint" in line


def test_a_run_without_calibration(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "run" / "calibration.json").unlink()
    line = refused(capfd, *_convert(place))
    assert "calibration.json: is missing; run `qlvit-edge calibrate" in line
    assert not (place / "new" / "model.tflite").exists()


def test_data_of_other_classes(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "cells" / "MONOCYTE").rename(place / "cells" / "BLAST")
    for command in ("train", "convert"):
        assert "BLAST" in _refused_and_nothing_left(capfd, place, COMMANDS[command](place))


def test_a_split_of_other_images(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = json.loads((place / "split.json").read_text())["train"][0]
    (place / "cells" / name).unlink()
    assert name in _refused_and_nothing_left(capfd, place, _train(place))


def test_data_that_a_run_records_and_that_is_gone(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = place / "run" / "run.json"
    gone = {**json.loads(path.read_text()), "data": str(place / "gone")}
    path.write_text(json.dumps(gone))
    line = refused(capfd, "convert", place / "run", "--out", place / "m.tflite")
    assert f"{place / 'gone'}: the data this run was trained on is not there" in line
    line = refused(capfd, "calibrate", place / "run")
    assert str(place / "gone") in line


def test_targets_that_cannot_be_written(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    below_a_file = place / "split.json" / "new"
    for arguments in (
        _train(place, out=below_a_file),
        _convert(place, below_a_file / "m.tflite"),
        [*_convert(place), "--report", below_a_file / "r.json"],
        _convert(place, "/proc/m.tflite"),
        _train(place, out=Path("/proc/run")),
    ):
        _refused_and_nothing_left(capfd, place, arguments)
    line = _refused_and_nothing_left(capfd, place, _convert(place, "cells"))
    assert "Is a directory; name a file" in line


_A_PROBE = 8192
"""Bytes that hold a probe, but no weights and no calibration."""


@pytest.mark.parametrize("command", ["train", "calibrate"])
def test_a_full_disk_is_said_with_the_file_that_did_not_fit(
    command: str, original: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if command == "train":
        with files_limited(_A_PROBE):
            line = refused(capfd, *_train(original, out=tmp_path / "new"))
        assert line.startswith(f"error: {tmp_path}/new/best.safetensors: ")
        left = files_below(tmp_path / "new")
        # enough to resume with
        assert left == {"run.json", "split.json", "training_images.json"}
    else:
        run = tmp_path / "run"
        run.mkdir()
        for name in ("run.json", "split.json", "best.safetensors"):
            os.symlink(original / "run" / name, run / name)
        with files_limited(_A_PROBE):
            line = refused(capfd, *_calibrate(original, run))
        assert line.startswith(f"error: {run}/calibration.")
        assert files_below(run) == {"run.json", "split.json", "best.safetensors"}


@pytest.fixture
def unusual(tmp_path: Path) -> Path:
    """Cells of which some are grey, some have alpha, some 16 bits."""
    root = write_folder(tmp_path / "cells", 4)
    for label, folder in enumerate(sorted(root.iterdir())):
        bgr = cell_image(label, 50)[..., ::-1]
        alpha = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
        for name, pixels in {
            "grey": bgr[..., 1],
            "alpha": alpha,
            "deep": bgr.astype(np.uint16) * 257,
        }.items():
            assert cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(pixels))
    split = stratified_split(scan(root), 0.25, 1)
    (tmp_path / "split.json").write_text(split.model_dump_json())
    return tmp_path


def test_grey_alpha_and_16_bit_images_are_accepted_and_said(
    unusual: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = unusual / "new"
    assert run_command(*_train(unusual)) == 0
    said = "note: among the images are 4 16 bit, 4 alpha, 4 grey; taken as 8-bit RGB\n"
    assert said in capfd.readouterr().out
    assert run_command("calibrate", run, "--images", 28) == 0
    assert "note: among the images are " in capfd.readouterr().out
    names = json.loads((run / "calibration.json").read_text())["images"]
    assert any("grey" in name for name in names)
    out = unusual / "m.tflite"
    assert run_command("convert", run, "--out", out, "--max-drop", 100) == 0
    assert "note: among the images are " in capfd.readouterr().out
    assert out.exists()
    assert load_checkpoint(run)
