"""The training loop: AdamW, one cycle, moving average; resumable after any interruption."""

from __future__ import annotations

import copy
import csv
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import (
    CachedImage,
    View,
    evaluation_batches,
    training_batches,
    whole_view,
)
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import write_text
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import set_temperature
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    DESCRIPTION_FIELDS,
    FORMAT,
    LAST_FILE,
    RunConfig,
    load_tensors,
    load_weights,
    save_tensors,
)
from qlvit_edge.training.schedule import MovingAverage, learning_rate, temperature

EVALUATION_BATCH = 128
GRADIENT_CLIP = 2.0
METRICS_FILE = "metrics.csv"


@dataclass
class Progress:
    """What the progress display is told after each batch."""

    epoch: int
    loss: float
    accuracy: float
    images: int
    images_per_second: float


@dataclass
class TrainingState:
    """Everything that changes while training; saved and restored as one file."""

    network: QLViT
    average: QLViT
    optimiser: torch.optim.AdamW
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path, settings: dict[str, object]) -> None:
        """Write the state to ``path`` atomically."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        header = {
            "format": FORMAT,
            "epoch": self.epoch,
            "history": self.history,
            "settings": settings,
        }
        save_tensors(path, tensors, header)

    def restore(self, path: Path, settings: dict[str, object]) -> None:
        """Continue from a file that `save` wrote for the same settings.

        Raises:
            CheckpointError: missing, damaged or from a run with other settings.
        """
        tensors, header = load_tensors(path)
        if header.get("settings") != settings:
            raise CheckpointError(
                path,
                "was written by a run with other settings",
                "resume with the options of that run, or train into another folder",
            )
        load_weights(self.network, _below("network.", tensors), path)
        load_weights(self.average, _below("average.", tensors), path)
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below("optimiser.", tensors).items():
            index, key = name.split(".", 1)
            states.setdefault(int(index), {})[key] = tensor
        loaded = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**loaded, "state": states})
        self.epoch = header["epoch"]
        self.history = header["history"]


def train(
    run: RunConfig,
    folder: Path,
    cached: Sequence[CachedImage],
    validation: Sequence[LabelledImage],
    device: torch.device,
    resume: bool,
    report: Callable[[Progress], None],
    epoch_done: Callable[[dict[str, float]], None] = lambda row: None,
) -> TrainingState:
    """Train a network and leave `best.safetensors`, `last.safetensors` and `metrics.csv`.

    The best epoch is the one with the highest validation accuracy (the last one without
    validation images). Randomness comes from ``(seed, epoch, image)`` alone: two runs on
    one machine, resumed or not, give the same numbers.

    Args:
        run: network and settings.
        folder: the run folder.
        cached: the training images.
        validation: images to choose the best epoch by; may be empty.
        device: where to train.
        resume: continue from the folder's last state.
        report: told the state after every batch.
        epoch_done: told the epoch's row of the history once it is on the disk.

    Raises:
        CheckpointError: ``resume`` and the folder's last state does not fit this run.
    """
    settings: dict[str, object] = run.model_dump(mode="json", exclude=set(DESCRIPTION_FIELDS))
    if run.white_level is None:
        del settings["white_level"]  # runs begun before there was one can be resumed
    torch.manual_seed(run.training.seed)
    network = QLViT(run.network).to(device)
    average = copy.deepcopy(network)
    moving = MovingAverage(average)
    optimiser = torch.optim.AdamW(_parameter_groups(network, run.training.weight_decay))
    state = TrainingState(network, average, optimiser)
    if resume and (folder / LAST_FILE).exists():  # killed in its first epoch: begin again
        state.restore(folder / LAST_FILE, settings)
        write_text(folder / METRICS_FILE, _as_csv(state.history))  # killed just before it
    steps = -(-len(cached) // run.training.batch)
    while state.epoch < run.training.epochs:
        row = _train_epoch(state, moving, run, cached, device, steps, report)
        if validation:
            labels, logits = predict(average, validation, run.network, device)
            row["validation_accuracy"] = float((logits.argmax(1) == labels).mean())
        state.history.append(row)
        state.epoch += 1
        if _is_best(state.history):
            header = {"format": FORMAT, "epoch": state.epoch}
            save_tensors(folder / BEST_FILE, dict(average.state_dict()), header)
        state.save(folder / LAST_FILE, settings)
        write_text(folder / METRICS_FILE, _as_csv(state.history))
        epoch_done(row)
    return state


@torch.no_grad()
def predict(
    network: nn.Module,
    images: Sequence[LabelledImage],
    config: NetworkConfig,
    device: torch.device,
    view: View = whole_view,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Classify images; returns labels (N,) and logits (N, classes).

    Args:
        network: a network in evaluation mode.
        images: the images.
        config: the network's input size and channels.
        device: where the network is.
        view: what it is shown of an image: all of it, or the crop of its cell.
    """
    labels: list[NDArray[np.int64]] = []
    logits: list[NDArray[np.float32]] = []
    batches = evaluation_batches(images, config.input_size, EVALUATION_BATCH, view, config.channels)
    for views, batch_labels in batches:
        logits.append(network(to_input(views, device)).float().cpu().numpy())
        labels.append(batch_labels)
    return np.concatenate(labels), np.concatenate(logits)


def to_input(views: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Turn (B, H, W, C) uint8 into the network's (B, C, H, W) float input, values 0…255."""
    return torch.from_numpy(views).to(device).permute(0, 3, 1, 2).float().contiguous()


def _train_epoch(
    state: TrainingState,
    moving: MovingAverage,
    run: RunConfig,
    cached: Sequence[CachedImage],
    device: torch.device,
    steps: int,
    report: Callable[[Progress], None],
) -> dict[str, float]:
    """Train one epoch of ``steps`` steps; returns its row of the history."""
    training = run.training
    state.network.train()
    loss_sum, correct, seen, rate = 0.0, 0, 0, 0.0
    began = time.monotonic()
    settling = state.epoch >= round((1 - training.settle) * training.epochs)
    batches = training_batches(
        cached,
        run.network.input_size,
        training.batch,
        training.seed,
        state.epoch,
        channels=run.network.channels,
        vary_look=not settling,
    )
    for index, (views, labels) in enumerate(batches):
        step = state.epoch * steps + index
        progress = step / (training.epochs * steps)
        rate = learning_rate(training.peak_rate, progress)
        set_temperature(state.network, temperature(progress))
        loss, right = _step(state, rate, to_input(views, device), torch.from_numpy(labels))
        moving.update(state.network, step)
        seen += len(labels)
        loss_sum += loss * len(labels)
        correct += right
        speed = seen / (time.monotonic() - began)
        report(Progress(state.epoch, loss_sum / seen, correct / seen, len(labels), speed))
    return {
        "epoch": state.epoch + 1,
        "loss": loss_sum / seen,
        "training_accuracy": correct / seen,
        "learning_rate": rate,
        "seconds": time.monotonic() - began,
    }


def _step(state: TrainingState, rate: float, images: Tensor, labels: Tensor) -> tuple[float, int]:
    """Take one optimiser step; returns the mean loss and the number of right answers."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    labels = labels.to(images.device)
    logits = state.network(images)
    loss = nn.functional.cross_entropy(logits, labels)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), GRADIENT_CLIP)
    state.optimiser.step()
    return float(loss.detach()), int((logits.argmax(1) == labels).sum())


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _is_best(history: list[dict[str, float]]) -> bool:
    """Tell whether the last epoch is the best so far; of equals, the later one."""
    scores = [row.get("validation_accuracy", 0.0) for row in history]
    return scores[-1] >= max(scores)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _as_csv(history: list[dict[str, float]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return out.getvalue()
