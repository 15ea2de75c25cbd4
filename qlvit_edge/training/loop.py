"""The training loop: AdamW, one cycle, moving average; resumable after any interruption."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qlvit_edge.data.ahead import background_threads
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import (
    Augmentation,
    CachedImage,
    Standard,
    Unvaried,
    drawn_batches,
    training_batches,
    whole_view,
)
from qlvit_edge.data.looks import Looks
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import write_text
from qlvit_edge.model.dynamic_conv import set_temperature
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.acceleration import PLAIN, Acceleration, compiling, lay_out
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    FORMAT,
    LAST_FILE,
    Checkpoint,
    RunConfig,
    load_tensors,
    save_tensors,
)
from qlvit_edge.training.prediction import predict
from qlvit_edge.training.schedule import (
    MovingAverage,
    learning_rate,
    restarted_rate,
    temperature,
)
from qlvit_edge.training.settings import GRADIENT_CLIP
from qlvit_edge.training.start import take_over
from qlvit_edge.training.state import Row, TrainingState, as_csv, best_epoch, has_stopped
from qlvit_edge.training.targets import UNWEIGHED, Mixture, Objective, class_weights
from qlvit_edge.training.varying import Varying
from qlvit_edge.training.workers import ALONE, Workers

METRICS_FILE = "metrics.csv"


@dataclass
class Progress:
    """What the progress display is told after each batch.

    Attributes:
        epoch: from 0.
        loss: mean of the epoch so far.
        accuracy: the same.
        images: of the batch.
        images_per_second: of the epoch so far.
        waiting: share of its time in which the next batch was not ready.
    """

    epoch: int
    loss: float
    accuracy: float
    images: int
    images_per_second: float
    waiting: float = 0.0


def train(
    run: RunConfig,
    folder: Path,
    cached: Sequence[CachedImage],
    validation: Sequence[LabelledImage],
    device: torch.device,
    resume: bool,
    report: Callable[[Progress], None],
    epoch_done: Callable[[Row, int], None] = lambda row, best: None,
    start: Checkpoint | None = None,
    workers: Workers = ALONE,
) -> TrainingState:
    """Train a network and leave `best.safetensors`, `last.safetensors` and `metrics.csv`.

    The best epoch is the one with the highest validation accuracy, or mean recall in a balanced
    run (the last one without validation images). Randomness comes from ``(seed, epoch, image,
    place)`` alone: two runs on one machine, resumed or not, give the same numbers.

    Args:
        run: network and settings.
        folder: the run folder.
        cached: the training images.
        validation: images to choose the best epoch by; may be empty.
        device: where to train.
        resume: continue from the folder's last state.
        report: told the state after every batch.
        epoch_done: told the epoch's row of the history once it is on the disk, and the best
            epoch so far.
        start: the run whose weights it starts from.
        workers: the processes that train together; files are the leader's.

    Raises:
        CheckpointError: ``resume`` and the folder's last state does not fit this run, or the
            loss is no longer a number.
    """
    torch.manual_seed(run.training.seed)
    network = QLViT(run.network)
    if start is not None:
        take_over(network, run.classes, start)
    network = network.to(device)
    acceleration = Acceleration(run.training, device)
    acceleration.prepare(network)
    average = copy.deepcopy(network)
    moving = MovingAverage(average, run.training.average_decay)
    optimiser = torch.optim.AdamW(_parameter_groups(network, run.training.weight_decay))
    state = TrainingState(network, average, optimiser)
    if resume:
        _restore(state, folder, run, workers)
    workers.join(network)
    trainer = _EpochTrainer(run, cached, device, report, acceleration, workers)
    while not has_stopped(state.history, run.training):
        row = trainer.train(state, moving)
        if validation:
            row |= _validate(average, validation, run, device, workers)
        state.history.append(row)
        state.epoch += 1
        best = best_epoch(state.history)
        if workers.leads:
            _write(state, folder, run, best)
            epoch_done(row, best)
    return state


def _restore(state: TrainingState, folder: Path, run: RunConfig, workers: Workers) -> None:
    """Go on from a folder's last state; one that was killed in its first epoch begins again."""
    path = folder / LAST_FILE
    saved = workers.from_leader(lambda: load_tensors(path) if path.exists() else None)
    if saved is None:
        return
    state.restore(*saved, path, run)
    lay_out(state.optimiser)
    if workers.leads:
        write_text(folder / METRICS_FILE, as_csv(state.history))  # killed just before it


def _write(state: TrainingState, folder: Path, run: RunConfig, best: int) -> None:
    """Write an epoch's files; each is whole whenever the process is killed."""
    if best == state.epoch:
        header = {"format": FORMAT, "epoch": state.epoch}
        save_tensors(folder / BEST_FILE, dict(state.average.state_dict()), header)
    state.save(folder / LAST_FILE, run)
    write_text(folder / METRICS_FILE, as_csv(state.history))


def _validate(
    average: nn.Module,
    validation: Sequence[LabelledImage],
    run: RunConfig,
    device: torch.device,
    workers: Workers,
) -> Row:
    """Return the averaged network's accuracy; in a balanced run also the mean recall.

    It is the mean over the classes, or over the classes of each microscope, as they are drawn.
    """
    labels, logits = predict(average, validation, run.network, device, whole_view, workers)
    right = logits.argmax(1) == labels
    row = {"validation_accuracy": float(right.mean())}
    if run.training.balance != "none":
        by_domain = run.training.balance == "domains"
        found: dict[tuple[int, str], list[bool]] = {}
        for label, entry, is_right in zip(labels.tolist(), validation, right, strict=True):
            kind = (label, entry.domain if by_domain else "")
            found.setdefault(kind, []).append(bool(is_right))
        row["validation_recall"] = float(np.mean([np.mean(of_kind) for of_kind in found.values()]))
    return row


class _EpochTrainer:
    """Trains one epoch at a time; holds what is the same in all of them."""

    def __init__(
        self,
        run: RunConfig,
        cached: Sequence[CachedImage],
        device: torch.device,
        report: Callable[[Progress], None],
        acceleration: Acceleration,
        workers: Workers,
    ) -> None:
        self.run = run
        self.cached = cached
        self.device = device
        self.report = report
        self.acceleration = acceleration
        self.workers = workers
        self.steps = -(-(run.training.images_per_epoch or len(cached)) // run.training.batch)
        self.augmentation = augmentation_of(run, cached)
        weights: Tensor | None = None
        if run.training.balance == "loss":
            weights = class_weights([entry.label for entry in cached], len(run.classes)).to(device)
        self.objective = Objective(weights, run.training.label_smoothing)

    def train(self, state: TrainingState, moving: MovingAverage) -> Row:
        """Train one epoch; returns its row of the history.

        Raises:
            CheckpointError: the loss is no longer a number.
        """
        training = self.run.training
        state.network.train()
        loss_sum, correct, seen, rate = 0.0, 0, 0, 0.0
        began = time.monotonic()
        start, end = training.cycle_of(state.epoch)
        settling = state.epoch >= start + round((1 - training.settle) * (end - start))
        batches = training_batches(
            self.cached,
            self.run.network.input_size,
            training.batch,
            training.seed,
            state.epoch,
            channels=self.run.network.channels,
            vary_look=not settling,
            balance=training.balance,
            count=training.images_per_epoch,
            augmentation=self.augmentation,
            threads=background_threads(),
            share=self.workers.share,
        )
        drawn = drawn_batches(
            *(self.cached, training.batch, training.seed, state.epoch),
            *(training.balance, training.images_per_epoch),
        )
        own = (whole.part(*self.workers.share) for whole in drawn)
        varying = Varying(self.run, self.device, vary_look=not settling)
        for index, (images, labels, mixture) in enumerate(varying.varied(batches, own)):
            progress = ((state.epoch - start) * self.steps + index) / ((end - start) * self.steps)
            rate = (
                restarted_rate(training.peak_rate, progress)
                if start
                else learning_rate(training.peak_rate, progress, training.warm_up)
            )
            # A network that was trained has seen the fall of τ.
            is_fresh = start == 0 and self.run.started_from is None
            set_temperature(state.network, temperature(progress) if is_fresh else 1.0)
            loss, right = _step(
                *(state, rate, images, labels, self.objective, mixture),
                *(training.gradient_clip, self.acceleration, self.workers),
            )
            if not math.isfinite(loss):
                raise CheckpointError(
                    f"epoch {state.epoch + 1}",
                    f"the loss is {loss} in step {index + 1}",
                    "train again with a lower --rate",
                )
            moving.update(state.network, state.epoch * self.steps + index)
            (count,) = self.workers.totals(len(labels))
            seen += count
            loss_sum += loss * count
            correct += right
            took = time.monotonic() - began
            self.report(
                Progress(
                    *(state.epoch, loss_sum / seen, correct / seen, count, seen / took),
                    waiting=varying.waited / took,
                )
            )
        return {
            "epoch": state.epoch + 1,
            "loss": loss_sum / seen,
            "training_accuracy": correct / seen,
            "learning_rate": rate,
            "seconds": time.monotonic() - began,
        }


def augmentation_of(run: RunConfig, cached: Sequence[CachedImage]) -> Augmentation:
    """Return what varies the images of a run before they are tensors."""
    match run.training.augment:
        case "standard":
            return Standard(cached)
        case "microscopes":
            return Looks(cached, run.training.augment_shares)
        case "paper":
            return Unvaried(cached)


def _step(
    state: TrainingState,
    rate: float,
    images: Tensor,
    labels: Tensor,
    objective: Objective = UNWEIGHED,
    mixture: Mixture | None = None,
    gradient_clip: float = GRADIENT_CLIP,
    acceleration: Acceleration = PLAIN,
    workers: Workers = ALONE,
) -> tuple[float, int]:
    """Take one optimiser step; returns the mean loss and the number of right answers.

    ``images`` and ``labels`` are this process's part of a batch; what is returned is the batch's.
    """
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    labels = labels.to(images.device)
    with compiling():
        logits = acceleration.logits(workers.network(state.network), images)
        loss = objective.loss(logits, labels, mixture)
        mass = objective.mass(labels, logits.shape[1], mixture) if workers.size > 1 else 1.0
        state.optimiser.zero_grad(set_to_none=True)
        workers.share_of(loss, mass).backward()  # type: ignore[no-untyped-call]
    if gradient_clip:
        nn.utils.clip_grad_norm_(state.network.parameters(), gradient_clip)
    state.optimiser.step()
    (right,) = workers.totals(int((logits.argmax(1) == labels).sum()))
    return workers.mean(float(loss.detach()), mass), right


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
