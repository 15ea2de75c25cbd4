"""A run folder and its images can be moved: what is recorded of places is a hint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
from command import refused, run_command
from small_run import cell_image, small_config, write_folder

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.files import write_text
from qlvit_edge.model import configs
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    LAST_FILE,
    load_tensors,
    read_run_config,
)

MISSING = "/media/gone/cells: the data this run was trained on is not there; name it with --data"


@pytest.fixture(autouse=True)
def _small_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, their split, and a run of one epoch."""
    place = tmp_path_factory.mktemp("there")
    cells = write_folder(place / "cells", 5)
    write_text(place / "split.json", stratified_split(scan(cells), 0.3, 0).model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(configs.SIZES, "nano", small_config())
        assert run_command(*_arguments(place), "--epochs", 1) == 0
    return place


def _arguments(place: Path, *options: object) -> list[object]:
    places = ("--data", place / "cells", "--split", place / "split.json", "--out", place / "run")
    return ["train", *places, "--batch", 6, *options]


@pytest.fixture
def moved(trained: Path, tmp_path: Path) -> Path:
    """The same, elsewhere; where it was is nothing any more, as far as its files know."""
    here = tmp_path / "here"
    shutil.copytree(trained, here)
    path = here / "run" / "run.json"
    recorded = json.loads(path.read_text())
    assert recorded["data"] == str(trained / "cells")
    path.write_text(json.dumps({**recorded, "data": "/media/gone/cells"}))
    return here


def test_a_moved_run_is_extended_to_the_weights_of_one_that_stayed(
    trained: Path, moved: Path
) -> None:
    assert run_command(*_arguments(moved, "--resume", "--epochs", 2)) == 0
    assert read_run_config(moved / "run").data == str((moved / "cells").resolve())
    stayed = moved.parent / "stayed"
    shutil.copytree(trained / "run", stayed)
    arguments = [stayed if part == trained / "run" else part for part in _arguments(trained)]
    assert run_command(*arguments, "--resume", "--epochs", 2) == 0
    for name in (BEST_FILE, LAST_FILE):
        (one, _), (other, _) = (load_tensors(run / name) for run in (stayed, moved / "run"))
        assert one.keys() == other.keys()
        assert all(bool((tensor == other[key]).all()) for key, tensor in one.items())


def test_a_moved_run_does_not_go_on_with_other_images(
    moved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    split = json.loads((moved / "split.json").read_text())
    name = split["train"][0]
    assert cv2.imwrite(str(moved / "cells" / name), cell_image(0, 99))
    before = {path.name: path.read_bytes() for path in (moved / "run").iterdir()}
    line = refused(capfd, *_arguments(moved, "--resume", "--epochs", 2))
    assert "1 training image" in line
    assert name in line
    assert {path.name: path.read_bytes() for path in (moved / "run").iterdir()} == before


def test_commands_name_the_missing_images(moved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, out = moved / "run", moved / "out"
    for arguments in (("calibrate", run), ("convert", run, "--out", out)):
        assert MISSING in refused(capfd, *arguments)
        assert not out.exists()


def _calibrated(run: Path) -> Path:
    """Calibrate on the images where they are now."""
    assert run_command("calibrate", run, "--data", run.parent / "cells", "--images", 4) == 0
    return run


@pytest.mark.slow
def test_a_moved_run_is_converted_and_validated(
    moved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, data = moved / "model.tflite", ("--data", moved / "cells")
    run = _calibrated(moved / "run")
    integers = moved / "integers"
    assert MISSING in refused(capfd, "train", "--quantise", "--from", run, "--out", integers)
    assert not integers.exists()
    assert run_command("convert", run, "--out", out, *data, "--max-drop", 100) == 0
    split = ("--split", moved / "split.json", "--out", moved / "report")
    assert run_command("validate", out, *data, *split) == 0


def test_a_run_goes_on_where_the_run_it_started_from_has_another_name(moved: Path) -> None:
    start = moved / "start"
    (moved / "run").rename(start)
    options = ("--rate", 1e-4, "--from")
    assert run_command(*_arguments(moved, "--epochs", 1, *options, start)) == 0
    start.rename(moved / "renamed")
    more = _arguments(moved, "--resume", "--epochs", 2, *options, moved / "renamed")
    assert run_command(*more) == 0
    found = read_run_config(moved / "run").started_from
    assert found is not None
    assert found.name == "renamed"
