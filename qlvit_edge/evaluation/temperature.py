"""How sure a network's answers should be: the temperature that its logits are divided by.

Guo et al. 2017, "On calibration of modern neural networks". It is fitted on images that were
neither trained on nor are tested on. For a file `qlvit_edge.calibration` finds it with the guard,
and `convert` puts it into the scale of the logits; a report of a run divides float logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.5, 20.0
"""Answers that are all right, or all wrong, would else make it leave every bound."""


def best_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return by what logits are divided so that the labels are likeliest.

    Args:
        logits: (N, classes), real; N at least 1.
        labels: (N,) true classes.
    """
    candidates = np.exp(np.linspace(np.log(LEAST), np.log(MOST), 241))
    losses = [log_loss(logits / candidate, labels) for candidate in candidates]
    return float(candidates[int(np.argmin(losses))])


def log_loss(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean negative log-likelihood of labels (N,) by logits (N, classes)."""
    shifted = logits - logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]))


def probabilities(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return the softmax (N, classes) of logits (N, classes) divided by a temperature."""
    divided = logits / temperature
    powers = np.exp(divided - divided.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float64)
