"""Training any network from random weights on a budget: the same steps, whatever the network.

As `qlvit-edge train` does: the same views of the images, AdamW, one cycle of the rate, a moving
average of the weights. What differs is the end: not a number of epochs, but images or processor
time. The time is this process's own, so that other work on the machine costs no budget.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from contest.members import Member
from contest.tasks import Task
from qlvit_edge.data.loader import CachedImage, Standard, training_batches
from qlvit_edge.data.looks import Looks
from qlvit_edge.model.dynamic_conv import set_temperature
from qlvit_edge.training.schedule import MovingAverage, learning_rate, temperature
from qlvit_edge.training.settings import GRADIENT_CLIP
from qlvit_edge.training.varying import to_input

CPU = torch.device("cpu")
DECAY = 0.05
"""Of weights with two or more axes."""


@dataclass(frozen=True)
class Budget:
    """What a training may cost; it ends when the first limit is reached.

    Attributes:
        images: shown in all; 0: no limit.
        minutes: of this process's processor time; 0: no limit.
        batch: images per step.
    """

    images: int
    minutes: float
    batch: int

    def __post_init__(self) -> None:
        if not (self.images or self.minutes):
            raise ValueError("a budget without a limit never ends")

    def progress(self, images: int, seconds: float) -> float:
        """Return the share that is spent, 0 to 1."""
        shares = [images / self.images] if self.images else []
        shares += [seconds / (60 * self.minutes)] if self.minutes else []
        return min(1.0, max(shares))

    @property
    def words(self) -> str:
        """What it is, for tables."""
        limits = [f"{self.images} images"] if self.images else []
        limits += [f"{self.minutes:g} minutes of one core"] if self.minutes else []
        return f"{' or '.join(limits)}, batches of {self.batch}"


@dataclass(frozen=True)
class Trained:
    """A network after its budget.

    Attributes:
        network: the averaged weights, in evaluation mode.
        images: that it was shown.
        seconds: of processor time.
        loss: mean of the last tenth of the steps.
    """

    network: nn.Module
    images: int
    seconds: float
    loss: float


def train(
    member: Member,
    task: Task,
    budget: Budget,
    seed: int,
    device: torch.device = CPU,
    report: Callable[[float, int, float], None] = lambda share, images, loss: None,
) -> Trained:
    """Train a member on a task.

    Args:
        member: what is trained.
        task: what on.
        budget: how much it may cost.
        seed: of the weights and of everything random about the images.
        device: where to train; the weights stay there.
        report: told the share of the budget, the images and the loss after every step.

    Raises:
        ValueError: the loss is no longer a number.
    """
    torch.manual_seed(seed)
    network = member.make().to(device).train()
    average = copy.deepcopy(network)
    moving = MovingAverage(average)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in network.parameters() if p.dim() > 1], "weight_decay": DECAY},
            {"params": [p for p in network.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ]
    )
    batches = _endless(task.training, task, budget.batch, seed)
    began, images = time.process_time(), 0
    losses: list[float] = []
    for step, (views, labels) in enumerate(batches):
        spent = budget.progress(images, time.process_time() - began)
        if spent >= 1:
            break
        set_temperature(network, temperature(spent))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(member.rate, spent)
        loss = nn.functional.cross_entropy(
            network(to_input(views, device)), torch.from_numpy(labels).to(device)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
        optimiser.step()
        moving.update(network, step)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise ValueError(f"{member.name}: the loss is {losses[-1]} in step {step + 1}")
        images += len(labels)
        report(spent, images, losses[-1])
    last = losses[-max(1, len(losses) // 10) :]
    seconds = time.process_time() - began
    return Trained(average.eval(), images, seconds, float(np.mean(last)))


def _endless(
    cached: Sequence[CachedImage], task: Task, batch: int, seed: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield batches, epoch after epoch; a last batch that is not full is left out."""
    varied = Standard(cached) if task.augment == "standard" else Looks(cached, {})
    for epoch in itertools.count():
        batches = training_batches(
            cached,
            (task.side, task.side),
            batch,
            seed,
            epoch,
            balance=task.balance,
            augmentation=varied,
        )
        for number, (views, labels) in enumerate(batches):
            if len(labels) == batch or number == 0:
                yield views, labels
