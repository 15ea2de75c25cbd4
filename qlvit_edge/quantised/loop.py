"""The loop of quantised fine-tuning: AdamW from a low rate to zero, moving average, resumable.

The loss is half that of the labels, half the divergence from what the float network answers to the
same view: integers are to lose nothing against it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import CachedImage, drawn_batches, training_batches
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import write_text
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.quantised.answers import integer_answers
from qlvit_edge.quantised.state import FineTuningState, best_row
from qlvit_edge.quantised.student import Student
from qlvit_edge.training.checkpoint import LAST_FILE, RunConfig
from qlvit_edge.training.loop import METRICS_FILE, Progress, augmentation_of
from qlvit_edge.training.schedule import MovingAverage
from qlvit_edge.training.state import Row, as_csv
from qlvit_edge.training.targets import class_weights
from qlvit_edge.training.varying import Varying, to_input

GRADIENT_CLIP = 2.0
TEACHER_SHARE = 0.5
RANGE_RATE = 10.0
"""Rate of the ranges, in their widths, over that of the weights."""
_WARM_UP = 0.1


def fine_tune(
    run: RunConfig,
    out: Path,
    student: Student,
    cached: Sequence[CachedImage],
    judged: Sequence[LabelledImage],
    resume: bool,
    report: Callable[[Progress], None],
    keep: Callable[[Student, int], None],
    epoch_done: Callable[[Row, int], None],
) -> FineTuningState:
    """Train a student for the epochs of a run; leaves `last.safetensors` and `metrics.csv`.

    Randomness comes from ``(draw, epoch, image, place)`` alone: a run that was resumed gives the
    numbers of one that was not.

    Args:
        run: settings.
        out: the run folder.
        student: the float run's network with its calibrated ranges.
        cached: the training images.
        judged: images that the epoch is chosen by.
        resume: continue from the folder's last state.
        report: told the state after every batch.
        keep: given what is the best so far, and its epoch.
        epoch_done: told the epoch's row of the history once it is on the disk, and the best.

    Raises:
        CheckpointError: ``resume`` does not fit, or the loss is no longer a number.
    """
    teacher = copy.deepcopy(student.network).eval().requires_grad_(False)
    average = copy.deepcopy(student)
    moving = MovingAverage(average)
    state = FineTuningState(student, average, _optimiser(student, run.training.peak_rate))
    if resume and (out / LAST_FILE).exists():
        state.restore(out / LAST_FILE, run)
    if not state.history:
        state.history.append({"epoch": 0, **_validate(average, judged, run)})
        keep(average, 0)
    epochs = _Epochs(run, cached, teacher, report)
    while state.epoch < run.training.epochs:
        row = epochs.train(state, moving) | _validate(average, judged, run)
        state.history.append(row)
        best = best_row(state.history)
        if best == state.epoch:
            keep(average, best)
        state.save(out / LAST_FILE, run)
        write_text(out / METRICS_FILE, as_csv(state.history))
        epoch_done(row, best)
    return state


def _optimiser(student: Student, rate: float) -> torch.optim.AdamW:
    groups = [
        {"params": list(student.network.parameters()), "lr": rate},
        {"params": [student.ranges.moved], "lr": RANGE_RATE * rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=0.0)


def _validate(average: Student, judged: Sequence[LabelledImage], run: RunConfig) -> Row:
    found = integer_answers(average.integer_graph(), judged, run.network)
    return {"validation_accuracy": found.accuracy, "validation_loss": found.loss}


class _Epochs:
    """Trains one epoch at a time; holds what is the same in all of them."""

    def __init__(
        self,
        run: RunConfig,
        cached: Sequence[CachedImage],
        teacher: QLViT,
        report: Callable[[Progress], None],
    ) -> None:
        self.run, self.cached, self.teacher, self.report = run, cached, teacher, report
        training = run.training
        self.steps = -(-(training.images_per_epoch or len(cached)) // training.batch)
        self.augmentation = augmentation_of(run, cached)
        self.weights: Tensor | None = None
        if training.balance == "loss":
            self.weights = class_weights([entry.label for entry in cached], len(run.classes))

    def train(self, state: FineTuningState, moving: MovingAverage) -> Row:
        """Train one epoch; returns its row of the history.

        Raises:
            CheckpointError: the loss is no longer a number.
        """
        training, epoch = self.run.training, state.epoch
        began, seen, correct, loss_sum, rate = time.monotonic(), 0, 0, 0.0, 0.0
        for index, (views, labels) in enumerate(self._views(epoch)):
            step = epoch * self.steps + index
            rate = training.peak_rate * _share(step / (training.epochs * self.steps))
            loss, right = self._step(state, rate, views, labels)
            if not math.isfinite(loss):
                raise CheckpointError(
                    f"epoch {epoch + 1}",
                    f"the loss is {loss} in step {index + 1}",
                    "train again with a lower --rate",
                )
            moving.update(state.student, step)
            seen += len(labels)
            loss_sum += loss * len(labels)
            correct += right
            speed = seen / (time.monotonic() - began)
            self.report(Progress(epoch, loss_sum / seen, correct / seen, len(labels), speed))
        return {
            "epoch": epoch + 1,
            "loss": loss_sum / seen,
            "training_accuracy": correct / seen,
            "learning_rate": rate,
            "seconds": time.monotonic() - began,
        }

    def _views(self, epoch: int) -> Iterator[tuple[NDArray[np.uint8], Tensor]]:
        """Yield the batches of an epoch as a device would be fed: (B, H, W, channels), labels."""
        assert self.run.quantised is not None
        training, network = self.run.training, self.run.network
        where = training.batch, self.run.quantised.draw, epoch
        batches = training_batches(
            *(self.cached, network.input_size, *where),
            channels=network.channels,
            balance=training.balance,
            count=training.images_per_epoch,
            augmentation=self.augmentation,
        )
        drawn = drawn_batches(self.cached, *where, training.balance, training.images_per_epoch)
        device = next(self.teacher.parameters()).device
        for images, labels, _ in Varying(self.run, device, vary_look=True).varied(batches, drawn):
            whole = images.round().clamp(0, 255).to(torch.uint8)
            yield whole.permute(0, 2, 3, 1).cpu().numpy(), labels

    def _step(
        self,
        state: FineTuningState,
        rate: float,
        views: NDArray[np.uint8],
        labels: Tensor,
    ) -> tuple[float, int]:
        """Take one optimiser step; returns the mean loss and the number of right answers."""
        for group, factor in zip(state.optimiser.param_groups, (1.0, RANGE_RATE), strict=True):
            group["lr"] = factor * rate
        logits = state.student(views)
        wanted = labels.to(logits.device)
        weights = None if self.weights is None else self.weights.to(logits.device)
        with torch.no_grad():
            taught = self.teacher(to_input(views, logits.device)).log_softmax(1)
        of_labels = nn.functional.cross_entropy(logits, wanted, weights)
        of_teacher = nn.functional.kl_div(
            logits.log_softmax(1), taught, reduction="batchmean", log_target=True
        )
        loss = (1 - TEACHER_SHARE) * of_labels + TEACHER_SHARE * of_teacher
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(state.student.network.parameters(), GRADIENT_CLIP)
        state.optimiser.step()
        state.student.ranges.keep_zero_inside()
        return float(loss.detach()), int((logits.argmax(1) == wanted).sum())


def _share(progress: float) -> float:
    """Share of the peak rate: a short linear warm-up, then a cosine to zero."""
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))
