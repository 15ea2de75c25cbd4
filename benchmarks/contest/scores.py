"""How a network answers: micro and macro figures, and an interval over sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from contest.tasks import Questions
from qlvit_edge.evaluation.metrics import bootstrap_interval
from qlvit_edge.training.varying import to_input

BATCH = 64
ROUNDS = 1000


@torch.no_grad()
def answers(network: nn.Module, questions: Questions, device: torch.device) -> NDArray[np.int64]:
    """Return the classes (N,) that a network in evaluation mode, on ``device``, answers."""
    parts = [
        network(to_input(questions.views[start : start + BATCH], device)).argmax(1)
        for start in range(0, len(questions.views), BATCH)
    ]
    return np.asarray(torch.cat(parts).cpu().numpy(), np.int64)


def judge(answered: NDArray[np.int64], questions: Questions) -> dict[str, Any]:
    """Return the figures of some answers: over images, over classes, and the latter's interval.

    The interval (95 %) is that of the macro average when whole sources are drawn again.
    """
    truth = questions.labels
    macro = macro_recall(answered, truth)
    low, high = bootstrap_interval(questions.sources, macro, rounds=ROUNDS)
    every = np.arange(len(truth))
    return {
        "images": len(truth),
        "sources": len(set(questions.sources)),
        "micro": float(np.mean(answered == truth)),
        "macro": macro(every),
        "interval": [low, high],
    }


def macro_recall(
    answered: NDArray[np.int64], truth: NDArray[np.int64]
) -> Callable[[NDArray[np.int64]], float]:
    """Return the mean recall over the classes that occur, as a function of chosen images."""

    def figure(chosen: NDArray[np.int64]) -> float:
        labels = truth[chosen]
        right = answered[chosen] == labels
        counts = np.bincount(labels)
        hits = np.bincount(labels, weights=right, minlength=len(counts))
        present = counts > 0
        return float(np.mean(hits[present] / counts[present]))

    return figure
