"""Cameras of 12 bits in files of 16: said, never stretched silently, the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import cv2
import numpy as np
import pytest
from command import refused, run_command
from foreign_images import tiff, waves
from small_run import small_config, write_folder, write_run

from qlvit_edge.cli.options import white_level_of, white_level_option
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.errors import DataError
from qlvit_edge.preprocess import decode, decode_noting, set_white_level, to_rgb8, white_level
from qlvit_edge.training import session
from qlvit_edge.training.checkpoint import RunConfig

DARK = waves(40, 50, 1, np.uint16)[..., 0] >> 4  # 12 bits


@pytest.fixture(autouse=True)
def unset() -> Iterator[None]:
    yield
    assert white_level() is None  # every command leaves it as it was
    set_white_level(None)


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    path = tmp_path / "dark.tif"
    path.write_bytes(tiff(DARK, photometric="minisblack"))
    return path


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder whose images use 12 of 16 bits."""
    root = write_folder(tmp_path / "cells", 4)
    for path in sorted(root.rglob("*.png")):
        bright = cv2.imread(str(path)).astype(np.uint16) * 16
        assert cv2.imwrite(str(path), bright)
    return root


@pytest.mark.parametrize(
    ("most", "bits"),
    [(200, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14)],
)
def test_nearly_black_images_are_said_with_the_remedy(most: int, bits: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[0, most], [0, 0]], np.uint16))
    kinds: list[str] = []
    shown = decode_noting(path, kinds)
    assert shown[0, 1].tolist() == [(most * 2 + 257) // 514] * 3  # not stretched
    assert any(f"--white-level {(1 << bits) - 1})" in kind for kind in kinds), kinds


@pytest.mark.parametrize("most", [0, 16384, 65535])
def test_others_are_not(most: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[0, 0, 0, 0, most]], np.uint16))
    kinds: list[str] = []
    decode_noting(path, kinds)
    assert sorted(kinds) == ["16 bit", "grey"]


@pytest.mark.parametrize("level", [1, 255, 1000, 4095, 65534, 65535])
def test_values_are_scaled_by_the_level_and_rounded_half_up(level: int) -> None:
    values = np.unique(np.linspace(0, level, 5000).astype(np.uint16))[None]
    expected = [(int(value) * 510 + level) // (2 * level) for value in values[0]]
    assert to_rgb8(values, level)[0, :, 0].tolist() == expected
    clear = np.dstack([values] * 3 + [np.full_like(values, 65535)])
    assert to_rgb8(clear, level)[0, :, 0].tolist() == expected
    assert (to_rgb8(np.dstack([values] * 3 + [np.zeros_like(values)]), level) == 255).all()


def test_values_above_the_level_are_refused(dark: Path) -> None:
    set_white_level(1000)
    try:
        with pytest.raises(DataError, match=r"up to \d+, above the white level 1000"):
            decode(dark)
    finally:
        set_white_level(None)


def test_images_of_8_bits_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = waves(5, 6, 3, np.uint8)
    cv2.imwrite(str(path), image[..., ::-1])
    set_white_level(100)
    try:
        assert np.array_equal(decode(path), image)
    finally:
        set_white_level(None)


def test_a_level_is_a_number_of_16_bits() -> None:
    for wrong in (0, -1, 65536):
        with pytest.raises(ValueError, match="between 1 and 65535"):
            set_white_level(wrong)


def test_data_check_warns_and_takes_the_option(
    cells: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command("data", "check", cells) == 0
    out = capfd.readouterr().out
    assert "--white-level 4095" in out
    assert "warning: 4 kinds of images to look at" in out
    assert run_command("data", "check", cells, "--white-level", 4095, "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["classes"][0]["kinds"] == {"16 bit, white at 4095": 4}


def test_train_records_the_level(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = stratified_split(scan(cells), 0.25, 1)
    (tmp_path / "split.json").write_text(split.model_dump_json())
    seen: list[tuple[int | None, int | None]] = []

    def stop(run: RunConfig, *others: object, **more: object) -> None:
        seen.append((run.white_level, white_level()))
        raise DataError("training", "is not what is tested", "stop here")

    monkeypatch.setattr(session, "run_training", stop)
    train = ["train", "--data", cells, "--split", tmp_path / "split.json", "--out", tmp_path / "r"]
    assert run_command(*train, "--white-level", 4095) == 2
    assert run_command(*train) == 2
    assert seen == [(4095, 4095), (None, None)]


def test_calibrate_reads_the_images_as_the_run_was_trained_on_them(
    cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    write_run(run, cells, small_config())
    config = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**config, "white_level": 100}))
    assert "above the white level 100" in refused(capfd, "calibrate", run, "--images", 8)
    # What the user says goes before what is recorded.
    assert "above the white level 99" in refused(capfd, "calibrate", run, "--white-level", 99)


@pytest.mark.parametrize("given", [None, 77])
def test_a_recorded_level_holds_until_the_command_ends(given: int | None) -> None:
    run = SimpleNamespace(white_level=4095)
    seen = []

    @click.command()
    @white_level_option
    def command() -> None:
        white_level_of(run)
        seen.append(white_level())

    arguments = [] if given is None else ["--white-level", str(given)]
    command.main(arguments, standalone_mode=False)
    assert seen == [given or 4095]


@pytest.mark.parametrize(
    "name",
    [
        "data check",
        "train",
        "calibrate",
        "convert",
        "compare",
        "sensitivity",
        "validate",
        "predict",
        "run",
    ],
)
def test_every_command_that_reads_pictures_takes_the_option(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(*name.split(), "--help") == 0
    assert "--white-level N" in capfd.readouterr().out


def test_run_says_it(dark: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.sqlite"
    command = ["run", "blood-nano", "--camera", dark.parent, "--find", "none", "--out", out]
    assert run_command(*command) == 0
    assert "--white-level 4095" in capfd.readouterr().err
    assert run_command(*command, "--white-level", 4095) == 0
    assert "16 bit, white at 4095" in capfd.readouterr().err
