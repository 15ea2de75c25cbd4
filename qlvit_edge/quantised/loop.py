"""The loop of quantised fine-tuning: AdamW from a low rate to zero, moving average, resumable.

The loss is the divergence from what the float network answers to the same view: integers are to
lose nothing against it. Labels would pull the network elsewhere, on images it has learned already.
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

from qlvit_edge.data.loader import CachedImage
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import write_text
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.presence import present
from qlvit_edge.quantised.judge import Judge, training_views
from qlvit_edge.quantised.state import FineTuningState, best_row
from qlvit_edge.quantised.student import Student
from qlvit_edge.training.checkpoint import LAST_FILE, RunConfig
from qlvit_edge.training.loop import METRICS_FILE, Progress
from qlvit_edge.training.schedule import MovingAverage, learning_rate
from qlvit_edge.training.state import Row, as_csv
from qlvit_edge.training.targets import class_weights
from qlvit_edge.training.varying import to_input

RANGE_RATE = 100.0
"""Rate of the ranges, in their widths, over that of the weights.

A range that cuts is wrong by a tenth of its width and more, a weight by a rounding. At ten times
the rate, ranges got nowhere before the weights had lost what they knew (docs/quantise.md).
"""


def fine_tune(
    run: RunConfig,
    out: Path,
    student: Student,
    cached: Sequence[CachedImage],
    judge: Callable[[QLViT], Judge],
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
        judge: what epochs are chosen by; given the float network.
        resume: continue from the folder's last state.
        report: told the state after every batch.
        keep: given what is the best so far, and its epoch.
        epoch_done: told the epoch's row of the history once it is on the disk, and the best.

    Raises:
        CheckpointError: ``resume`` does not fit, or the loss is no longer a number.
    """
    teacher = copy.deepcopy(student.network).eval().requires_grad_(False)
    average = copy.deepcopy(student)
    moving = MovingAverage(average, run.training.average_decay)
    judged = judge(teacher)
    state = FineTuningState(student, average, _optimiser(student, run.training.peak_rate))
    if resume and (out / LAST_FILE).exists():
        state.restore(out / LAST_FILE, run)
    if not state.history:
        state.history.append({"epoch": 0, **judged.row(average.integer_graph())})
        keep(average, 0)
    epochs = _Epochs(run, cached, teacher, report)
    while state.epoch < run.training.epochs:
        row = epochs.train(state, moving) | judged.row(average.integer_graph())
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
        self.weights = torch.ones(len(run.classes))
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
            progress = step / (training.epochs * self.steps)
            rate = learning_rate(training.peak_rate, progress, training.warm_up)
            loss, right = self._step(state, rate, views, torch.from_numpy(labels))
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

    def _views(self, epoch: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        quantised = present(self.run.quantised, "the settings of the fine-tuning")
        training, draw = self.run.training, (quantised.draw, epoch)
        device = next(self.teacher.parameters()).device
        return training_views(
            self.run, self.cached, draw, device, training.balance, training.images_per_epoch
        )

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
        with torch.no_grad():
            taught = self.teacher(to_input(views, logits.device)).log_softmax(1)
        apart = nn.functional.kl_div(
            logits.log_softmax(1), taught, reduction="none", log_target=True
        ).sum(1)
        weights = self.weights[labels].to(apart)
        loss = (weights * apart).sum() / weights.sum()
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip = self.run.training.gradient_clip
        if clip:
            nn.utils.clip_grad_norm_(state.student.network.parameters(), clip)
        state.optimiser.step()
        state.student.ranges.keep_zero_inside()
        return float(loss.detach()), int((logits.argmax(1).cpu() == labels).sum())
