"""Training repeats itself, survives any interruption and leaves a whole run folder."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from command import files_below, refused, run_command
from hypothesis import given
from hypothesis import strategies as st
from killed_training import MOMENTS
from small_run import small_config, write_folder
from torch import Tensor, nn

from qlvit_edge.data.folder import scan
from qlvit_edge.data.loader import cache_images
from qlvit_edge.data.split import stratified_split
from qlvit_edge.files import write_text
from qlvit_edge.model import configs
from qlvit_edge.preprocess import decode
from qlvit_edge.training import loop
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    DESCRIPTION_FIELDS,
    LAST_FILE,
    RunConfig,
    load_checkpoint,
    load_tensors,
    read_run_config,
    write_run_config,
)
from qlvit_edge.training.schedule import MovingAverage, learning_rate, temperature
from qlvit_edge.training.settings import TrainingSettings

EPOCHS = 3
KILLED = Path(__file__).parent / "helpers" / "killed_training.py"


@pytest.fixture(autouse=True)
def _small_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "cells of µm", 6)


@pytest.fixture(scope="module")
def split(cells: Path) -> Path:
    path = cells.parent / "split.json"
    write_text(path, stratified_split(scan(cells), 0.3, 0).model_dump_json())
    return path


def _arguments(cells: Path, split: Path, out: Path, *options: object) -> list[object]:
    return [
        *("train", "--data", cells, "--split", split, "--out", out, "--epochs", EPOCHS),
        *("--batch", 6, "--unknown-cells", "basophils, blasts,", *options),
    ]


@pytest.fixture(scope="module")
def whole_run(cells: Path, split: Path) -> Path:
    """A run that nothing interrupted."""
    out = cells.parent / "runs" / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(configs.SIZES, "nano", small_config())
        assert run_command(*_arguments(cells, split, out)) == 0
    return out


def _state(run: Path) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights, averages and optimiser of a run's end; its history without the clock."""
    tensors, header = load_tensors(run / LAST_FILE)
    best, _ = load_tensors(run / BEST_FILE)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in header["history"]]
    return {**tensors, **{f"best.{k}": v for k, v in best.items()}}, history


def _same(one: Path, other: Path) -> bool:
    (tensors, history), (others, other_history) = _state(one), _state(other)
    assert tensors.keys() == others.keys()
    equal = all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    return equal and history == other_history


def test_a_fixed_seed_gives_the_same_numbers_twice(
    cells: Path, split: Path, whole_run: Path, tmp_path: Path
) -> None:
    assert run_command(*_arguments(cells, split, tmp_path / "again")) == 0
    assert _same(tmp_path / "again", whole_run)
    assert run_command(*_arguments(cells, split, tmp_path / "other", "--seed", 1)) == 0
    assert not _same(tmp_path / "other", whole_run)


@pytest.fixture(scope="module")
def interrupted(cells: Path, split: Path) -> Path:
    """A folder of runs, each interrupted at the moment that it is named after."""
    folder = cells.parent / "interrupted"
    arguments = [str(part) for part in _arguments(cells, split, folder, "--resume")]
    ended = subprocess.run(
        [sys.executable, KILLED, folder, *arguments], capture_output=True, check=False
    )
    *_, kept, last = filter(None, ended.stderr.decode().splitlines())
    assert last == "interrupted"
    assert re.search(r"Ctrl-C keeps 2 of 3 epochs; go on with .* --resume$", kept)
    codes = json.loads(ended.stdout)
    assert codes == {moment: 130 if moment == "Ctrl-C" else -9 for moment in MOMENTS}
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_run_resumes_to_the_same_weights_and_history(
    moment: str, cells: Path, split: Path, whole_run: Path, interrupted: Path
) -> None:
    run = interrupted / moment
    assert run_command(*_arguments(cells, split, run, "--resume")) == 0
    assert _same(run, whole_run)
    assert files_below(run) == files_below(whole_run)
    assert len(_rows(run)) == EPOCHS


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_run_folder_holds_figures_and_pictures(whole_run: Path, split: Path) -> None:
    assert files_below(whole_run) == {
        *("run.json", "split.json", "best.safetensors", "last.safetensors"),
        *("metrics.csv", "metrics.json", "curves.png", "confusion.png"),
        *("report.html", "report.json"),
        "training_images.json",
    }
    assert read_run_config(whole_run).unknown_cells == ["basophils", "blasts"]
    rows = _rows(whole_run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    metrics = json.loads((whole_run / "metrics.json").read_text())
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in metrics["history"]]
    test = json.loads(split.read_text())["test"]
    confusion = metrics["confusion_matrix"]
    assert sum(map(sum, confusion)) == metrics["test_images"] == len(test)
    assert metrics["split_fingerprint"] == json.loads(split.read_text())["fingerprint"]
    right = sum(confusion[index][index] for index in range(4))
    assert metrics["test_accuracy_whole_image"] == pytest.approx(right / len(test))
    assert 0 <= metrics["test_accuracy_cell_crop"] <= 1
    for name in ("curves.png", "confusion.png"):
        assert decode(whole_run / name).std() > 5
    assert load_checkpoint(whole_run).run.split_fingerprint


def test_where_no_terminal_is_the_log_gets_one_line_an_epoch(
    cells: Path, split: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert run_command(*_arguments(cells, split, tmp_path / "run")) == 0
    printed, logged = capfd.readouterr()
    assert re.match(r"best epoch [123] of 3: validation \d+\.\d%\ntest accuracy ", printed)
    form = (
        r"epoch {}/3: loss \d\.\d{{4}}, accuracy \d+\.\d%, validation \d+\.\d%, "
        r"best (so far|in epoch [12]), \d+\.\d s"
    )
    lines = logged.splitlines()
    assert len(lines) == EPOCHS
    for number, line in enumerate(lines, start=1):
        assert re.fullmatch(form.format(number), line)
    for row, line in zip(_rows(tmp_path / "run"), lines, strict=True):
        assert f"loss {float(row['loss']):.4f}" in line


def test_without_validation_the_log_has_no_figure_for_it(
    cells: Path, split: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    out = tmp_path / "run"
    assert run_command(*_arguments(cells, split, out, "--validation", 0, "--epochs", 1)) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("epoch 1/1: loss ")
    assert "validation" not in line


def test_on_a_terminal_the_bar_stands_for_the_log(cells: Path, split: Path, tmp_path: Path) -> None:
    code = (
        "from small_run import small_config; from qlvit_edge.model import configs;"
        "from qlvit_edge.cli import main; import sys;"
        "configs.SIZES['nano'] = small_config(); main(sys.argv[1:])"
    )
    arguments = [str(part) for part in _arguments(cells, split, tmp_path / "run")]
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(KILLED.parent), "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert child.wait(60) == 0
    assert b"training" in shown
    assert re.search(rb"accuracy \d+\.\d%  \d+ images/s", shown)
    assert b"epoch 1/3: loss" not in shown
    assert re.search(rb"validation \d+\.\d% \(best in epoch [123]\)", shown)


def test_without_validation_the_best_epoch_is_the_last(
    cells: Path, split: Path, tmp_path: Path
) -> None:
    assert run_command(*_arguments(cells, split, tmp_path / "run", "--validation", 0)) == 0
    best, header = load_tensors(tmp_path / "run" / BEST_FILE)
    last, _ = load_tensors(tmp_path / "run" / LAST_FILE)
    assert header["epoch"] == EPOCHS
    assert all(torch.equal(tensor, last[f"average.{name}"]) for name, tensor in best.items())
    assert "validation_accuracy" not in _rows(tmp_path / "run")[0]


def test_an_existing_run_is_neither_overwritten_nor_resumed_with_other_options(
    cells: Path, split: Path, whole_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in whole_run.iterdir()}
    arguments = _arguments(cells, split, whole_run)
    assert "already holds a run; add --resume" in refused(capfd, *arguments)
    for options in (
        ["--seed", 1],
        ["--epochs", 2],
        ["--patience", 2],
        ["--balance", "loss"],
        ["--stain", "Wright"],
        ["--settle", 0.5],
        ["--unknown-cells", "basophils"],
        ["--kan", "cubic"],
        ["--variant", "v3"],
        ["--norm", "layer"],
        ["--kv-pool", "2,1,1,1"],
    ):
        line = refused(capfd, *arguments, "--resume", *options)
        found = {"--epochs": "a run of 3 epochs", "--seed": "(seed: 0 there, 1 here)"}
        assert found.get(str(options[0]), "with other data or options (") in line
    assert {path.name: path.read_bytes() for path in whole_run.iterdir()} == before


def test_what_describes_the_model_decides_nothing_in_training(
    cells: Path, split: Path, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "described"
    shutil.copytree(whole_run, run)
    config = read_run_config(run).model_copy(update={"golden_images": "may travel"})
    write_run_config(run, config)
    assert run_command(*_arguments(cells, split, run, "--resume")) == 0
    assert read_run_config(run) == config
    _, header = load_tensors(run / LAST_FILE)
    assert not {*header["settings"]} & {*DESCRIPTION_FIELDS}


def _run_config(epochs: int, settle: float = 0.0) -> RunConfig:
    settings = TrainingSettings(
        epochs=epochs,
        batch=8,
        peak_rate=1e-3,
        weight_decay=0.05,
        validation=0.0,
        seed=0,
        settle=settle,
    )
    return RunConfig(
        network=small_config(),
        classes=["A", "B", "C", "D"],
        data="cells",
        split_fingerprint="0",
        training=settings,
    )


def _train(run: RunConfig, cells: Path, out: Path, epochs: int) -> None:
    """Train and stop after some epochs."""

    def report(now: loop.Progress) -> None:
        if now.epoch == epochs:
            raise KeyboardInterrupt

    cached = cache_images(scan(cells).images, run.network.input_size, lambda: None, [])
    with pytest.raises(KeyboardInterrupt):
        loop.train(run, out, cached, [], torch.device("cpu"), False, report)


def test_temperature_is_annealed_and_saved(cells: Path, tmp_path: Path) -> None:
    _train(_run_config(epochs=10), cells, tmp_path, epochs=1)
    tensors, _ = load_tensors(tmp_path / LAST_FILE)
    found = {float(value) for name, value in tensors.items() if name.endswith("temperature")}
    # 24 images are 3 batches: the last step taken is the third of thirty.
    assert sorted(found) == [pytest.approx(temperature(2 / 30))]
    assert temperature(2 / 30) == pytest.approx(20.333, abs=1e-3)
    best, _ = load_tensors(tmp_path / BEST_FILE)
    assert float(best["blocks.0.dynamic.temperature"]) == pytest.approx(temperature(2 / 30))


def test_colours_are_left_alone_in_the_share_of_epochs_that_settles(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    varied: list[bool] = []
    real = loop.training_batches

    def noted(*arguments: object, vary_look: bool, **others: object) -> object:
        varied.append(vary_look)
        return real(*arguments, vary_look=vary_look, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "training_batches", noted)
    _train(_run_config(epochs=5, settle=0.6), cells, tmp_path, epochs=4)
    assert varied == [True, True, False, False, False]


@given(st.floats(0, 1), st.floats(0, 1))
def test_schedules_stay_within_their_bounds(one: float, other: float) -> None:
    assert 0 <= learning_rate(2.0, one) <= 2.0
    assert 1.0 <= temperature(one) <= 30.0
    assert (temperature(one) - temperature(other)) * (one - other) <= 0
    assert temperature(0) == 30
    assert temperature(0.1) == pytest.approx(15.5)


def test_moving_average_covers_batchnorm_statistics() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average.load_state_dict(network.state_dict())
    moving = MovingAverage(average)
    before = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    network(torch.full((4, 3), 50.0) + torch.randn(4, 3))
    with torch.no_grad():
        network[0].weight.add_(1.0)
    moving.update(network, 90)  # decay 91/100
    for name, tensor in average.state_dict().items():
        current = network.state_dict()[name]
        if name.endswith("num_batches_tracked"):
            assert int(tensor) == int(current) == 1
        else:
            torch.testing.assert_close(tensor, 0.91 * before[name] + 0.09 * current)
    assert not torch.equal(average[1].running_mean, before["1.running_mean"])
    moving.update(network, 10**6)
    assert not any(parameter.requires_grad for parameter in average.parameters())
