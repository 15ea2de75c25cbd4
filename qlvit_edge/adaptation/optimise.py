"""A few hundred steps of training from given weights, on views that are varied anew every time.

The statistics of BatchNorm stay as they were found on the new cells: a batch of drawn cells has
another mix. Ranges of activations follow, as in training. The result is the moving average of the
weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.training.settings import GRADIENT_CLIP
from qlvit_edge.training.varying import to_input

WEIGHT_DECAY: Final = 0.05
_DECAY: Final = 0.98


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps: of the optimiser.
        rate: highest learning rate; it warms up in the first tenth and falls in a cosine to zero.
        train_head: whether the head's linear layer is trained too.
    """

    steps: int
    rate: float
    train_head: bool = True


Batch = tuple[NDArray[np.uint8], Tensor]
"""Views (B, h, w, channels) and what they are to be answered with: probabilities (B, classes)."""


def optimised(
    network: QLViT,
    batches: Callable[[int], Batch],
    schedule: Schedule,
    advance: Callable[[], None],
) -> QLViT:
    """Return a copy of a network trained on batches.

    Args:
        network: where training begins; it is not changed.
        batches: gives the batch of a step, from 0.
        schedule: how long and how fast.
        advance: called once per step, for a progress bar.

    Returns:
        The copy, in evaluation mode.
    """
    trained = copy.deepcopy(network).eval()
    for module in trained.modules():
        if isinstance(module, UniformQuantiser):
            module.train()
    chosen = _parameters(trained, schedule)
    trained.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    decayed = [p for p in chosen if p.dim() > 1]
    others = [p for p in chosen if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]])
    average = [parameter.detach().clone() for parameter in chosen]
    for step in range(schedule.steps):
        views, wanted = batches(step)
        for group in optimiser.param_groups:
            group["lr"] = _rate(schedule, step)
        logits = trained(to_input(views, torch.device("cpu")))
        loss = -(wanted * torch.log_softmax(logits, 1)).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(chosen, GRADIENT_CLIP)
        optimiser.step()
        decay = min(_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in chosen], 1 - decay)
        advance()
    with torch.no_grad():
        for parameter, mean in zip(chosen, average, strict=True):
            parameter.copy_(mean)
    return trained.requires_grad_(True).eval()


def _rate(schedule: Schedule, step: int) -> float:
    progress = step / schedule.steps
    if progress < 0.1:
        return schedule.rate * (0.1 + 9 * progress)
    return schedule.rate * 0.5 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9))


def _parameters(network: QLViT, schedule: Schedule) -> list[nn.Parameter]:
    """Return what a schedule trains."""
    parameters = list(network.parameters())
    if schedule.train_head:
        return parameters
    head = {id(parameter) for parameter in network.head.linear.parameters()}
    return [parameter for parameter in parameters if id(parameter) not in head]
