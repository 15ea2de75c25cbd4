"""What each step and epoch of training does: rates, clipping, averages, balance, early stopping."""

from __future__ import annotations

import copy
import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import CLASSES, cell_image, small_config, write_folder
from torch import Tensor, nn

from qlvit_edge.choices import Balance
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.loader import CachedImage, cache_images, training_batches
from qlvit_edge.errors import CheckpointError
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.model.stem import Stem
from qlvit_edge.training import loop
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    LAST_FILE,
    RunConfig,
    load_tensors,
)
from qlvit_edge.training.schedule import (
    WARM_UP,
    MovingAverage,
    learning_rate,
    restarted_rate,
)
from qlvit_edge.training.settings import TrainingSettings
from qlvit_edge.training.state import TrainingState, best_epoch, has_stopped

CPU = torch.device("cpu")


def config(epochs: int, **settings: Any) -> RunConfig:
    """A run of the small network with a few settings of its own."""
    values = {"batch": 8, "peak_rate": 1e-3, "weight_decay": 0.05, "validation": 0.0, "seed": 0}
    return RunConfig(
        network=small_config(),
        classes=list(CLASSES),
        data="cells",
        split_fingerprint="0",
        training=TrainingSettings(epochs=epochs, **{**values, **settings}),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Sequence[LabelledImage]:
    return scan(write_folder(tmp_path_factory.mktemp("data") / "cells", 4)).images


@pytest.fixture(scope="module")
def cached(images: Sequence[LabelledImage]) -> list[CachedImage]:
    return cache_images(images, (64, 64), lambda: None, [])


def train(
    run: RunConfig,
    out: Path,
    cached: Sequence[CachedImage],
    validation: Sequence[LabelledImage] = (),
    resume: bool = False,
) -> TrainingState:
    return loop.train(run, out, cached, validation, CPU, resume, lambda now: None)


def noting_rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What learning rates the steps are taken with from now on."""
    rates: list[float] = []
    real = loop._step

    def step(state: TrainingState, rate: float, *others: Any) -> tuple[float, int]:
        rates.append(rate)
        return real(state, rate, *others)

    monkeypatch.setattr(loop, "_step", step)
    return rates


def test_the_rate_warms_up_before_it_falls() -> None:
    assert learning_rate(2.0, 0.0) == pytest.approx(0.1)
    assert learning_rate(2.0, WARM_UP / 2) == pytest.approx(2 * (0.05 + 0.95 / 2))
    assert learning_rate(2.0, WARM_UP) == pytest.approx(2.0)
    assert learning_rate(2.0, (1 + WARM_UP) / 2) == pytest.approx(1.0)
    assert learning_rate(2.0, 1.0) == pytest.approx(0.0)


def test_steps_are_taken_with_the_scheduled_rates(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = noting_rates(monkeypatch)
    train(config(4), tmp_path, cached)
    assert rates == pytest.approx([learning_rate(1e-3, step / 8) for step in range(8)])
    assert rates[0] < 0.1 * max(rates)


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = QLViT(small_config())
    images = torch.from_numpy(np.stack([cell_image(label, 0)[:64, :64] for label in range(4)]))
    batch, labels = images.permute(0, 3, 1, 2).float(), torch.arange(4)
    with torch.no_grad():
        network.head.linear.weight.mul_(300)
    unclipped = copy.deepcopy(network)
    nn.functional.cross_entropy(unclipped(batch), labels).backward()  # type: ignore[no-untyped-call]
    assert _norm(unclipped) > 3 * loop.GRADIENT_CLIP
    state = TrainingState(network, network, torch.optim.AdamW(network.parameters()))
    loop._step(state, 1e-3, batch, labels)
    assert _norm(network) == pytest.approx(loop.GRADIENT_CLIP, rel=1e-3)


def _norm(network: nn.Module) -> float:
    grads = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return float(torch.cat(grads).norm())


def test_validation_is_scored_on_the_averaged_network(
    images: Sequence[LabelledImage],
    cached: list[CachedImage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Tensor]] = []
    real = loop.predict

    def predict(network: nn.Module, *others: Any) -> Any:
        assert not network.training
        asked.append({name: t.clone() for name, t in network.state_dict().items()})
        return real(network, *others)

    monkeypatch.setattr(loop, "predict", predict)
    train(config(1), tmp_path, cached, images[:4])
    tensors, _ = load_tensors(tmp_path / LAST_FILE)
    best, _ = load_tensors(tmp_path / BEST_FILE)
    (scored,) = asked
    for name, tensor in scored.items():
        assert torch.equal(tensor, tensors[f"average.{name}"])
        assert torch.equal(tensor, best[name])
    assert not torch.equal(scored["head.linear.weight"], tensors["network.head.linear.weight"])


def test_peaks_of_quantisers_are_copied_not_averaged() -> None:
    network = nn.ModuleDict({"quantiser": UniformQuantiser(8), "linear": nn.Linear(2, 2)})
    moving = MovingAverage(copy.deepcopy(network))
    network["quantiser"](torch.tensor([-3.0, 5.0]))
    moving.update(network, 10**6)
    state = moving.average.state_dict()
    assert (float(state["quantiser.low"]), float(state["quantiser.high"])) == (-3.0, 5.0)


def test_colours_are_normalised_in_the_order_of_rgb() -> None:
    stem = Stem(3, 4, 7, 4)
    assert stem.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert stem.std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])


def test_more_epochs_are_a_second_cycle_and_leave_the_first_as_it_was(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, longer = config(2), config(4, earlier_cycles=(2,))
    train(short, tmp_path, cached)
    before = [row["loss"] for row in train(short, tmp_path, cached, resume=True).history]
    rates = noting_rates(monkeypatch)
    temperatures: list[float] = []
    real = loop.set_temperature

    def set_temperature(network: nn.Module, value: float) -> None:
        temperatures.append(value)
        real(network, value)

    monkeypatch.setattr(loop, "set_temperature", set_temperature)
    state = train(longer, tmp_path, cached, resume=True)
    assert temperatures == [1.0] * 4
    assert [row["loss"] for row in state.history][:2] == before
    assert [int(row["epoch"]) for row in state.history] == [1, 2, 3, 4]
    assert rates == pytest.approx([restarted_rate(1e-3, step / 4) for step in range(4)])
    assert rates[0] == pytest.approx(0.5e-3)
    with pytest.raises(CheckpointError, match="other settings"):
        train(short, tmp_path, cached, resume=True)
    with pytest.raises(CheckpointError, match="other settings"):
        train(config(8, earlier_cycles=(3,)), tmp_path, cached, resume=True)
    # Decided at once or later, it is the same run.
    (tmp_path / "at once").mkdir()
    at_once = train(longer, tmp_path / "at once", cached)
    for name, tensor in at_once.average.state_dict().items():
        assert torch.equal(tensor, state.average.state_dict()[name]), name


def test_a_settled_share_is_that_of_its_cycle() -> None:
    settings = config(40, earlier_cycles=(24, 30)).training
    assert [settings.cycle_of(epoch) for epoch in (0, 23, 24, 29, 30, 39)] == [
        *[(0, 24)] * 2,
        *[(24, 30)] * 2,
        *[(30, 40)] * 2,
    ]


def rows(*accuracies: float) -> list[dict[str, float]]:
    return [{"epoch": n, "validation_accuracy": a} for n, a in enumerate(accuracies, start=1)]


@pytest.mark.parametrize(
    ("accuracies", "stopped"),
    [
        ((), False),
        ((0.5,), False),
        ((0.5, 0.4), False),
        ((0.5, 0.4, 0.4), True),
        ((0.5, 0.4, 0.5), False),
        ((0.5,) * 9, False),
        ((0.5,) * 10, True),
    ],
)
def test_patience_counts_from_the_best_epoch(accuracies: tuple[float, ...], stopped: bool) -> None:
    assert has_stopped(rows(*accuracies), config(10, patience=2).training) is stopped


def test_patience_begins_again_with_a_cycle() -> None:
    settings = config(10, patience=2, earlier_cycles=(3,)).training
    assert not has_stopped(rows(0.5, 0.4, 0.4), settings)
    assert not has_stopped(rows(0.5, 0.4, 0.4, 0.4), settings)
    assert has_stopped(rows(0.5, 0.4, 0.4, 0.4, 0.4), settings)
    assert best_epoch(rows(0.5, 0.6, 0.6, 0.1)) == 3
    recall = [{"validation_accuracy": 0.9, "validation_recall": r} for r in (0.5, 0.8, 0.7)]
    assert best_epoch(recall) == 2


def test_training_stops_early_and_an_extension_goes_on_from_there(
    images: Sequence[LabelledImage],
    cached: list[CachedImage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        loop, "predict", lambda *_: (np.array([0, 1]), np.eye(4, dtype=np.float32)[falling.pop(0)])
    )
    falling: list[list[int]] = [[0, 1], [1, 1], [1, 0], [0, 0], [0, 0]]
    run = config(30, patience=2)
    state = train(run, tmp_path, cached, images[:2])
    assert [row["validation_accuracy"] for row in state.history] == [1.0, 0.5, 0.0]
    assert len(train(run, tmp_path, cached, images[:2], resume=True).history) == 3
    longer = config(40, patience=2, earlier_cycles=(3,))
    assert len(train(longer, tmp_path, cached, images[:2], resume=True).history) == 5
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5


def unequal(cached: Sequence[CachedImage]) -> list[CachedImage]:
    """Four images of the first class, one of each of the others."""
    return [*cached[:4], *cached[4::4]]


def test_rare_classes_weigh_more_in_the_loss(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = loop.class_weights([0, 0, 0, 0, 1, 1], 3)
    assert weights.tolist() == pytest.approx([0.75, 1.5, 0.0])
    seen: list[Tensor | None] = []
    real = nn.functional.cross_entropy

    def noted(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        seen.append(weight)
        return real(logits, labels, weight)

    monkeypatch.setattr(nn.functional, "cross_entropy", noted)
    train(config(1, balance="loss"), tmp_path, unequal(cached))
    assert seen[0] is not None
    assert seen[0].tolist() == pytest.approx([7 / 16, 7 / 4, 7 / 4, 7 / 4])


def test_balanced_sampling_draws_classes_equally_often(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = unequal(cached)
    drawn: Counter[int] = Counter()
    for epoch in range(60):
        for views, labels in training_batches(chosen, (16, 16), 7, 0, epoch, balance="sampling"):
            drawn.update(labels.tolist())
            if epoch == 0:
                twice = [views[labels == label] for label in set(labels.tolist()) if label]
    assert sum(drawn.values()) == 60 * 7
    assert all(80 <= drawn[label] <= 130 for label in range(4))
    repeated = next(views for views in twice if len(views) > 1)
    assert not np.array_equal(repeated[0], repeated[1])
    asked: list[str] = []
    real = loop.training_batches

    def noted(*arguments: Any, balance: Balance, **others: Any) -> Any:
        asked.append(balance)
        return real(*arguments, balance=balance, **others)

    monkeypatch.setattr(loop, "training_batches", noted)
    train(config(1, balance="sampling"), tmp_path, chosen)
    assert asked == ["sampling"]


def test_a_balanced_run_is_judged_by_mean_recall(
    images: Sequence[LabelledImage],
    cached: list[CachedImage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = np.eye(4, dtype=np.float32)[[0, 0, 0, 0]]
    monkeypatch.setattr(loop, "predict", lambda *_: (np.array([0, 0, 0, 1]), answers))
    state = train(config(1, balance="loss"), tmp_path, cached, images[:4])
    assert state.history[0]["validation_accuracy"] == 0.75
    assert state.history[0]["validation_recall"] == 0.5


def test_a_loss_that_is_no_number_ends_training_with_its_remedy(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[Callable[[], tuple[float, int]]] = [lambda: (1.0, 1), lambda: (float("nan"), 0)]
    monkeypatch.setattr(loop, "_step", lambda *_: results.pop(0)())
    with pytest.raises(CheckpointError, match=r"epoch 1: the loss is nan in step 2; .*--rate"):
        train(config(3), tmp_path, cached)
    assert not list(tmp_path.iterdir())


def test_microscopes_are_judged_by_the_mean_recall_of_their_classes(
    images: Sequence[LabelledImage],
    cached: list[CachedImage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of four, one is alone on its microscope: it counts as much as the three others."""
    answers = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    monkeypatch.setattr(loop, "predict", lambda *_: (np.array([0, 0, 0, 0]), answers))
    held = [replace(image, domain=name) for image, name in zip(images[:4], "aaab", strict=True)]
    state = train(config(1, balance="domains"), tmp_path, cached, held)
    assert state.history[0]["validation_accuracy"] == 0.5
    assert state.history[0]["validation_recall"] == pytest.approx((2 / 3 + 0) / 2)


def test_the_epochs_length_and_the_augmentation_are_the_settings(
    cached: list[CachedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = noting_rates(monkeypatch)
    drawn: list[dict[str, Any]] = []
    real = loop.training_batches

    def noted(*arguments: Any, **others: Any) -> Any:
        drawn.append(others)
        return real(*arguments, **others)

    monkeypatch.setattr(loop, "training_batches", noted)
    run = config(
        2, images_per_epoch=40, augment="microscopes", augment_shares={"look": 1.0, "grey": 1.0}
    )
    train(run, tmp_path, cached)
    assert rates == pytest.approx([learning_rate(1e-3, step / 10) for step in range(10)])
    assert all(others["count"] == 40 for others in drawn)
    assert drawn[0]["augmentation"].shares["grey"] == 1.0
    views = next(real(cached, (16, 16), 8, 0, 0, augmentation=drawn[0]["augmentation"]))[0]
    assert np.ptp(views, axis=3).max() == 0
