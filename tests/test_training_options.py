"""Options of a step: resumed exactly, recorded, refused where impossible; caches and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import files_below, refused, run_command
from full_disk import files_limited
from small_run import CLASSES, small_config, write_folder

from qlvit_edge.cli import train as command
from qlvit_edge.data.ahead import UPCOMING, ahead
from qlvit_edge.data.folder import scan
from qlvit_edge.data.image_store import ImageStore
from qlvit_edge.data.loader import CachedImage, cache_images, training_batches
from qlvit_edge.data.split import stratified_split
from qlvit_edge.errors import DataError, DeviceError
from qlvit_edge.files import write_text
from qlvit_edge.memory import available_memory
from qlvit_edge.model import configs
from qlvit_edge.training import loop, varying
from qlvit_edge.training.acceleration import Acceleration
from qlvit_edge.training.checkpoint import (
    LAST_FILE,
    RunConfig,
    load_tensors,
    read_run_config,
)
from qlvit_edge.training.settings import TrainingSettings
from qlvit_edge.training.state import TrainingState

CPU = torch.device("cpu")
ALL_AT_ONCE: dict[str, Any] = {
    **{"augment": "paper", "mixup": 0.4, "label_smoothing": 0.1, "warm_up": 0.3},
    **{"gradient_clip": 1.0, "average_decay": 0.9, "balance": "loss", "channels_last": True},
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = write_folder(tmp_path_factory.mktemp("data") / "cells", 4)
    split = stratified_split(scan(cells), 0.3, 0)
    write_text(cells.parent / "split.json", split.model_dump_json())
    return cells


@pytest.fixture(scope="module")
def cached(cells: Path) -> list[CachedImage]:
    return cache_images(scan(cells).images, (64, 64), lambda: None, [])


def config(**settings: Any) -> RunConfig:
    values = {"batch": 6, "peak_rate": 1e-3, "weight_decay": 0.05, "validation": 0.0, "seed": 0}
    return RunConfig(
        network=small_config(),
        classes=list(CLASSES),
        data="cells",
        split_fingerprint="0",
        training=TrainingSettings(epochs=2, **{**values, **settings}),
    )


def train(
    run: RunConfig,
    out: Path,
    cached: list[CachedImage],
    *,
    resume: bool = False,
    report: Callable[[loop.Progress], None] = lambda now: None,
) -> TrainingState:
    out.mkdir(exist_ok=True)
    return loop.train(run, out, cached, [], CPU, resume, report)


def stop_in_second_epoch(now: loop.Progress) -> None:
    if now.epoch == 1:
        raise KeyboardInterrupt


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_that_was_killed_resumes_exactly_with_every_option(
    precision: str, cached: list[CachedImage], tmp_path: Path
) -> None:
    run = config(**ALL_AT_ONCE, precision=precision)
    train(run, tmp_path / "whole", cached)
    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "killed", cached, report=stop_in_second_epoch)
    train(run, tmp_path / "killed", cached, resume=True)
    whole, header = load_tensors(tmp_path / "whole" / LAST_FILE)
    resumed, other = load_tensors(tmp_path / "killed" / LAST_FILE)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
        assert not tensor.is_floating_point() or tensor.dtype == torch.float32
    losses = [[row["loss"] for row in found["history"]] for found in (header, other)]
    assert losses[0] == losses[1]


def test_every_option_reaches_the_steps(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[Any, ...]] = []
    averages: list[float] = []
    update = loop.MovingAverage.update

    def noted(self: loop.MovingAverage, *others: Any) -> None:
        averages.append(self.decay)
        update(self, *others)

    def step(*arguments: Any) -> tuple[float, int]:
        steps.append(arguments)
        return 1.0, 0

    monkeypatch.setattr(loop, "_step", step)
    monkeypatch.setattr(loop.MovingAverage, "update", noted)
    train(config(**ALL_AT_ONCE), tmp_path, cached)
    _, rates, images, labels, objectives, mixtures, clips, *_ = zip(*steps, strict=True)
    expected = [loop.learning_rate(1e-3, step / 6, 0.3) for step in range(6)]
    assert rates == pytest.approx(expected)
    assert expected[1] == pytest.approx(1e-3 * (0.05 + 0.95 * (1 / 6) / 0.3))
    assert [tuple(some.shape) for some in images] == [
        (6, 3, 64, 64),
        (6, 3, 64, 64),
        (4, 3, 64, 64),
    ] * 2
    assert {found.smoothing for found in objectives} == {0.1}
    assert objectives[0].weights is not None
    assert all(mixture is not None for mixture in mixtures)
    assert set(clips) == {1.0}
    assert set(averages) == {0.9}
    assert not torch.equal(mixtures[0].shares, mixtures[3].shares)  # of another epoch
    assert sorted(torch.cat(labels[:3]).tolist()) == [label for label in range(4) for _ in range(4)]


def test_old_defaults_and_the_options_defaults_are_one() -> None:
    old = {"epochs": 2, "batch": 6, "peak_rate": 1e-3, "weight_decay": 0.05, "validation": 0.0}
    settings = TrainingSettings.model_validate({**old, "seed": 0})
    found = command.command.make_context("train", ["--data", "", "--split", "", "--out", ""])
    for name, value in command.step_settings(found.params).items():
        assert getattr(settings, name) == value, name
    assert settings.warm_up == loop.learning_rate.__defaults__[0]  # type: ignore[index]
    assert settings.gradient_clip == loop.GRADIENT_CLIP


def arguments(cells: Path, out: Path, *options: object) -> list[object]:
    split = cells.parent / "split.json"
    given = ("--batch", 6, "--epochs", 1, "--validation", 0)
    return ["train", "--data", cells, "--split", split, "--out", out, *given, *options]


def test_options_are_recorded_and_held_and_a_cache_leaves_no_file(
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())
    plain, stored = tmp_path / "plain", tmp_path / "stored"
    chosen = ("--augment", "paper", "--mixup", 0.4, "--label-smoothing", 0.1)
    assert run_command(*arguments(cells, plain, *chosen, "--cache", "memory")) == 0
    assert run_command(*arguments(cells, stored, *chosen, "--cache", "disk")) == 0
    training = read_run_config(plain).training
    assert (training.augment, training.mixup, training.label_smoothing) == ("paper", 0.4, 0.1)
    one, other = (load_tensors(run / LAST_FILE)[0] for run in (plain, stored))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert files_below(plain) == files_below(stored)
    line = refused(capfd, *arguments(cells, plain, *chosen[:4], "--resume"))
    assert "label smoothing: 0.1 there, 0.0 here" in line


def test_a_full_disk_is_one_line_and_leaves_nothing(
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())
    with files_limited(100_000):
        line = refused(capfd, *arguments(cells, tmp_path / "run", "--cache", "disk"))
    assert "cannot hold the decoded images: File too large after 0 MB" in line
    assert "use --cache memory" in line
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_the_memory_goes_to_the_disk(
    cells: Path, cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = cached[0].image.nbytes + cached[0].whole.nbytes
    monkeypatch.setattr("qlvit_edge.data.image_store.available_memory", lambda: 10 * size)
    store = ImageStore("auto", tmp_path)
    found = cache_images(scan(cells).images, (64, 64), lambda: None, [], store)
    assert (store.in_memory, store.on_disk) == (5 * size, 11 * size)
    assert files_below(tmp_path) == set()
    for one, other in zip(found, cached, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.whole, other.whole)
        assert (one.cell, one.label, one.source) == (other.cell, other.label, other.source)
    views = [next(training_batches(some, (64, 64), 16, 0, 0))[0] for some in (found, cached)]
    assert np.array_equal(*views)
    with pytest.raises(DataError, match="No such file or directory"):
        cache_images(
            scan(cells).images, (64, 64), lambda: None, [], ImageStore("disk", tmp_path / "no")
        )


def test_the_available_memory_is_that_of_the_machine_or_less() -> None:
    found = available_memory()
    assert found is not None
    with Path("/proc/meminfo").open() as file:
        total = int(next(file).split()[1]) * 1024
    assert 0 < found <= total


@pytest.mark.parametrize("augment", ["standard", "microscopes"])
def test_threads_give_the_batches_that_one_thread_gives(
    augment: str, cached: list[CachedImage]
) -> None:
    run = config(augment=augment)
    varied = loop.augmentation_of(run, cached)
    alone, together = (
        list(training_batches(cached, (64, 64), 3, 0, 0, augmentation=varied, threads=threads))
        for threads in (0, 3)
    )
    assert len(alone) == len(together) == 5
    for (views, labels), (others, other_labels) in zip(alone, together, strict=True):
        assert np.array_equal(views, others)
        assert np.array_equal(labels, other_labels)


def test_what_threads_prepare_comes_in_order_and_not_too_far_ahead() -> None:
    asked: list[int] = []
    last = threading.Event()

    def made(number: int) -> int:
        if number == 0:
            last.wait(10)  # the first is done last
        if number == 1:
            last.set()
        if number == 6:
            raise ValueError("the seventh")
        return number

    def makers() -> Iterator[Callable[[], int]]:
        for number in range(9):
            asked.append(number)
            yield partial(made, number)

    coming = ahead(makers(), 2)
    assert next(coming) == 0
    assert len(asked) == 2 * UPCOMING + 1
    assert [next(coming) for _ in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="the seventh"):
        next(coming)


def test_the_share_of_waiting_is_that_in_which_no_batch_was_ready(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock, seen = Clock(), list[loop.Progress]()
    real = loop.training_batches

    def slow(*arguments: Any, **others: Any) -> Iterator[Any]:
        for batch in real(*arguments, **{**others, "threads": 0}):
            clock.now += 1.0
            yield batch

    def step(*arguments: Any) -> tuple[float, int]:
        clock.now += 3.0
        return 1.0, 0

    monkeypatch.setattr(loop, "training_batches", slow)
    monkeypatch.setattr(loop, "_step", step)
    for module in (loop, varying):
        monkeypatch.setattr(module, "time", clock)
    train(config(), tmp_path, cached, report=seen.append)
    assert [now.waiting for now in seen] == pytest.approx([0.25] * 6)
    assert seen[0].images_per_second == pytest.approx(6 / 4)


def test_a_network_that_cannot_be_compiled_is_one_line(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        patch.setenv("CXX", "no-such-compiler")
        line = refused(capfd, *arguments(cells, tmp_path / "run", "--compile"))
    assert "no C++ compiler is found (no-such-compiler)" in line

    def compiled(forward: Any, **options: Any) -> Any:
        def fails(images: torch.Tensor) -> torch.Tensor:
            from torch._dynamo.exc import TorchDynamoException

            raise TorchDynamoException("CppCompileError: no Python.h\nand more")

        return fails

    monkeypatch.setattr(torch, "compile", compiled)
    line = refused(capfd, *arguments(cells, tmp_path / "run", "--compile"))
    assert "does not work here (CppCompileError: no Python.h); train without --compile" in line


def test_bfloat16_is_refused_where_the_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(DeviceError, match="has no bfloat16; use float32"):
        Acceleration(config(precision="bfloat16").training, torch.device("cuda"))


def test_logits_are_float32_and_close_whatever_they_are_computed_in() -> None:
    torch.manual_seed(0)
    network = loop.QLViT(small_config()).eval()
    images = torch.rand(4, 3, 64, 64) * 255
    with torch.no_grad():
        expected = network(images)
        half = Acceleration(config(precision="bfloat16").training, CPU).logits(network, images)
        assert half.dtype == torch.float32
        assert 0 < float((half - expected).abs().max()) < 0.1 * float(expected.abs().max())
        turned = Acceleration(config(channels_last=True).training, CPU)
        turned.prepare(network)
        assert network.stem.convolution.weight.is_contiguous(memory_format=torch.channels_last)
        assert not network.stem.convolution.weight.is_contiguous()
        torch.testing.assert_close(turned.logits(network, images), expected, rtol=1e-3, atol=1e-4)
