"""The head's linear layer fitted to a few labelled cells, held near what it was.

Logistic regression whose penalty is the distance from the old weights: of a class that has no
labelled cells, and of what few cells do not tell, the old head stays.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qlvit_edge.adaptation.answers import features_of
from qlvit_edge.adaptation.self_training import Varied
from qlvit_edge.data.loader import CachedImage
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.varying import to_input

VIEWS: Final = 8
"""Varied views of each labelled cell that the head is fitted to."""

_ITERATIONS: Final = 60


def varied_features(network: QLViT, cells: Sequence[CachedImage], seed: int) -> NDArray[np.float32]:
    """Return features (N, `VIEWS`, width) of varied views of cells."""
    varied = Varied(cells, network)
    everyone = np.arange(len(cells))
    found = []
    with torch.no_grad():
        for number in range(VIEWS):
            views = varied.views(everyone, np.random.default_rng([seed, number]))
            for start in range(0, len(views), 128):
                batch = to_input(views[start : start + 128], torch.device("cpu"))
                found.append(features_of(network, batch).numpy())
    joined = np.concatenate(found)
    return joined.reshape(VIEWS, len(cells), -1).transpose(1, 0, 2)


def class_shares(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a weight for each cell (N,), such that classes weigh alike; their sum is 1."""
    counts = np.bincount(labels)
    weights = 1 / counts[labels]
    return np.asarray(weights / weights.sum(), np.float64)


def refitted(
    network: QLViT, features: NDArray[np.float32], labels: NDArray[np.int64], strength: float
) -> QLViT:
    """Return a copy of a network with its head fitted to labelled features.

    Args:
        network: it is not changed.
        features: (N, views, width), see `varied_features`.
        labels: (N,), classes of the network.
        strength: of the penalty: squared distance from the old weights, where features are scaled
            to a mean square of 1.
    """
    fitted = copy.deepcopy(network)
    linear = fitted.head.linear
    flat = torch.from_numpy(features.reshape(-1, features.shape[-1])).double()
    repeated = np.repeat(labels, features.shape[1])
    targets, weights = torch.from_numpy(repeated), torch.from_numpy(class_shares(repeated))
    scale = float(flat.square().mean().sqrt().clamp(min=1e-9))
    old_weight = linear.weight.detach().double() * scale
    old_bias = linear.bias.detach().double()
    weight, bias = (t.clone().requires_grad_(True) for t in (old_weight, old_bias))
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = torch.nn.functional.linear(flat / scale, weight, bias)
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        moved = (weight - old_weight).square().sum() + (bias - old_bias).square().sum()
        loss: Tensor = (weights * losses).sum() + strength * moved
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        linear.weight.copy_((weight / scale).float())
        linear.bias.copy_(bias.float())
    return fitted
