"""What `train` takes, shows and writes besides the weights."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import files_below, refused, run_command
from full_disk import files_limited
from small_run import small_config, write_folder

from qlvit_edge.cli import train as command
from qlvit_edge.cli.drawing_options import drawing_settings
from qlvit_edge.data.folder import scan
from qlvit_edge.data.loader import CachedImage
from qlvit_edge.data.split import stratified_split
from qlvit_edge.files import exclusive, write_text
from qlvit_edge.model import configs
from qlvit_edge.training import loop
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    LAST_FILE,
    load_checkpoint,
    load_tensors,
    read_run_config,
    write_run_config,
)
from qlvit_edge.training.settings import TrainingSettings
from qlvit_edge.training.state import TrainingState, read_history


@pytest.fixture(autouse=True)
def _small_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = write_folder(tmp_path_factory.mktemp("data") / "cells", 4)
    split = stratified_split(scan(cells), 0.3, 0)
    write_text(cells.parent / "split.json", split.model_dump_json())
    return cells


TWO_EPOCHS = ("--epochs", 2, "--validation", 0)


def arguments(cells: Path, out: Path, *options: object) -> list[object]:
    split = cells.parent / "split.json"
    return ["train", "--data", cells, "--split", split, "--out", out, "--batch", 6, *options]


def test_a_finished_run_is_extended_and_stays_extended(
    cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert run_command(*arguments(cells, run, "--epochs", 1, "--tensorboard")) == 0
    *_, last = capfd.readouterr().out.splitlines()
    assert last.startswith(f"next: qlvit-edge calibrate {run}  # ")
    more = arguments(cells, run, "--resume", "--tensorboard")
    assert run_command(*more, "--epochs", 2) == 0
    assert read_run_config(run).training.cycle_ends == (1, 2)
    assert "epoch 2/2: " in capfd.readouterr().err
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 2
    assert run_command(*more) == 0  # as many as it has: nothing is left to do
    assert "epoch" not in capfd.readouterr().err
    assert "of 2 epochs; resume with" in refused(capfd, *more, "--epochs", 1)
    _hold_the_history(run, rows)


def _hold_the_history(run: Path, rows: list[dict[str, str]]) -> None:
    """Read the event files with TensorBoard itself."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    names = {"loss", "training_accuracy", "validation_accuracy", "learning_rate", "seconds"}
    assert set(events.Tags()["scalars"]) == names
    for name in names:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(int(row["epoch"]), pytest.approx(float(row[name]))) for row in rows]


@pytest.fixture(scope="module")
def whole(cells: Path) -> Path:
    """A run of two epochs that nothing stopped."""
    run = cells.parent / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(configs.SIZES, "nano", small_config())
        assert run_command(*arguments(cells, run, *TWO_EPOCHS)) == 0
    return run


@pytest.mark.parametrize("name", [BEST_FILE, LAST_FILE])
def test_a_disk_that_fills_in_training_leaves_the_epoch_before(
    name: str,
    cells: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Weights fit where the state, which holds them twice and more, does not."""
    run = tmp_path / "run"
    weights, state = ((whole / kept).stat().st_size for kept in (BEST_FILE, LAST_FILE))
    limit = {BEST_FILE: weights // 2, LAST_FILE: (weights + state) // 2}[name]
    real = loop._write

    def filling(state: TrainingState, *others: Any) -> None:
        with files_limited(limit) if state.epoch == 2 else nullcontext():
            real(state, *others)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_write", filling)
        capfd.readouterr()
        assert run_command(*arguments(cells, run, *TWO_EPOCHS)) == 2
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith("epoch 1/2: ")] == [
        f"error: {run}/{name}: File too large; check the path and the disk"
    ]
    assert [row["epoch"] for row in read_history(run / LAST_FILE)] == [1]
    assert load_checkpoint(run).run == read_run_config(run)
    kept = {BEST_FILE, LAST_FILE, "metrics.csv", "run.json", "split.json", "training_images.json"}
    assert files_below(run) == kept
    assert run_command(*arguments(cells, run, *TWO_EPOCHS, "--resume")) == 0
    for kept_file in (BEST_FILE, LAST_FILE):
        found, wanted = (load_tensors(one / kept_file)[0] for one in (run, whole))
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


def test_without_tensorboard_the_option_names_its_extra(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = command.require

    def lacking(extra: str, *modules: str) -> None:
        real(extra, *(f"no_such_{m}" if m == "tensorboard" else m for m in modules))

    monkeypatch.setattr(command, "require", lacking)
    line = refused(capfd, *arguments(cells, tmp_path / "run", "--tensorboard"))
    assert "pip install 'qlvit-edge[tensorboard]'" in line
    assert not (tmp_path / "run").exists()


def test_two_trainings_do_not_share_a_folder(
    cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with exclusive(run):
        line = refused(capfd, *arguments(cells, run))
    assert "another command is writing there" in line
    assert files_below(run) == set()


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (["--unknown-cells", "blasts,monocyte"], "'monocyte' is a class"),
        (["--unknown-cells", "blasts,a\x1b[31mb"], "printable"),
        (["--stain", " "], "printable"),
        (["--camera", "x" * 201], "printable"),
        (["--patience", 2, "--validation", 0], "--patience needs validation images"),
        (["--balance", "some"], "'some' is not one of"),
        (["--augment-share", "grey=0"], "--augment-share needs --augment microscopes"),
        (["--augment", "microscopes", "--augment-share", "gray=0"], "did you mean 'grey'?"),
        (["--augment", "microscopes", "--augment-share", "grey"], "is not PART=SHARE"),
        (["--augment", "microscopes", "--augment-share", "grey=nan"], "is not PART=SHARE"),
        (["--augment", "microscopes", "--augment-share", "grey=1.5"], "from 0 to 1"),
        (["--images-per-epoch", 1], "is not in the range"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    options: list[object],
    finding: str,
    cells: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_command(*arguments(cells, tmp_path / "run", *options)) == 2
    assert finding in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_from_before_the_draw_was_recorded_is_not_resumed_with_another(
    cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert run_command(*arguments(cells, run, "--epochs", 1)) == 0
    recorded = read_run_config(run)
    older = recorded.training.model_dump(
        exclude={"hold_out_draw", "balance", "patience", "earlier_cycles"}
    )
    settings = TrainingSettings.model_validate(older)
    write_run_config(run, recorded.model_copy(update={"training": settings}))
    line = refused(capfd, *arguments(cells, run, "--resume"))
    assert "hold out draw: not recorded there, 2 here" in line


def settings(**changes: Any) -> TrainingSettings:
    values = {"batch": 8, "peak_rate": 1e-3, "weight_decay": 0.05, "validation": 0.1, "seed": 0}
    return TrainingSettings(epochs=24, **{**values, **changes})


def test_help_and_settings_agree() -> None:
    from qlvit_edge.choices import AUGMENTS, BALANCES

    options = {option.name: option for option in command.command.params}
    assert list(options["balance"].type.choices) == list(BALANCES)  # type: ignore[attr-defined]
    assert list(options["augment"].type.choices) == list(AUGMENTS)  # type: ignore[attr-defined]
    assert settings().patience == options["patience"].default


def test_runs_of_several_microscopes_are_balanced_and_varied_for_others(cells: Path) -> None:
    folder = scan(cells)
    several = replace(
        folder,
        images=tuple(
            replace(image, domain="one" if index % 2 else "two")
            for index, image in enumerate(folder.images)
        ),
    )
    options = {"augment": None, "balance": None, "augment_shares": {}, "images_per_epoch": None}
    alone = {name: getattr(settings(), name) for name in options}
    assert drawing_settings(folder, options) == alone
    found = settings(**drawing_settings(several, options))
    assert (found.augment, found.balance) == ("microscopes", "domains")
    asked = {**options, "augment": "standard", "balance": "loss"}
    assert drawing_settings(several, asked) == {**alone, "balance": "loss"}


def test_images_per_epoch_and_augmentation_are_recorded_and_held(
    cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    chosen = ("--augment", "microscopes", "--augment-share", "grey=0.5", "--images-per-epoch", 9)
    assert run_command(*arguments(cells, run, "--epochs", 1, *chosen)) == 0
    training = read_run_config(run).training
    assert (training.augment, training.augment_shares) == ("microscopes", {"grey": 0.5})
    assert training.images_per_epoch == 9
    line = refused(capfd, *arguments(cells, run, "--resume", *chosen[:4]))
    assert "images per epoch: 9 there, not recorded here" in line


def test_a_manifest_of_two_microscopes_is_balanced_over_them(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "\n".join(f'{name} = "{name}"' for name in ("EOSINOPHIL", "LYMPHOCYTE"))
    folders = [
        f'[[folder]]\npath = "{name}"\ndomain = "{name}"\nblocks = 2\n[folder.classes]\n{own}\n'
        for name in ("one", "two")
    ]
    for name in ("one", "two"):
        shutil.copytree(cells, tmp_path / "data" / name)
    (tmp_path / "two.toml").write_text("\n".join(folders))
    manifest, split = tmp_path / "two.manifest", tmp_path / "split.json"
    root = ("--root", tmp_path / "data")
    assert run_command("data", "merge", tmp_path / "two.toml", "--out", manifest, *root) == 0
    assert run_command("data", "split", manifest, "--out", split, "--test", 0.5) == 0
    seen: list[CachedImage] = []
    real = loop.training_batches

    def noted(cached: list[CachedImage], *others: Any, **more: Any) -> Any:
        seen.extend(cached)
        return real(cached, *others, **more)

    monkeypatch.setattr(loop, "training_batches", noted)
    run = tmp_path / "run"
    asked = ("--data", manifest, "--split", split, "--out", run, "--batch", 4, "--epochs", 1)
    assert run_command("train", *asked, "--validation", 0) == 0
    training = read_run_config(run).training
    assert (training.augment, training.balance) == ("microscopes", "domains")
    assert {image.domain for image in seen} == {"one", "two"}
    assert all(image.source.startswith(f"{image.domain}/") for image in seen)
