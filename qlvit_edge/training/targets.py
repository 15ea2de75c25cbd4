"""What training compares the network's answers with: mixed and smoothed labels, and their loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.data.chance import Drawn

_PURPOSE: Final = 2
_STEPS: Final = 4096


@dataclass(frozen=True)
class Mixture:
    """What each image of a batch was mixed with.

    Attributes:
        partners: (B,) int64, indices into the batch.
        shares: (B,) float32, what the image kept of itself, from 0.5 to 1.
    """

    partners: Tensor
    shares: Tensor


def drawn_mixture(drawn: Drawn, alpha: float) -> Mixture:
    """Draw a mixture of neighbours: mixup (Zhang et al., ICLR 2018), a share for every image.

    The larger share is the image's own, so that its label stays the answer that counts as right.
    Images are in random order: the first is mixed with the second, the third with the fourth, and
    an odd one with itself.

    Args:
        drawn: the batch.
        alpha: of the Beta(α, α) that shares are drawn from; above 0.
    """
    count = len(drawn.images)
    partners = np.arange(count) ^ 1
    partners[partners == count] = count - 1
    shares = 1 - _lower_half(drawn.uniform(_PURPOSE, 1)[:, 0], alpha)
    return Mixture(torch.from_numpy(partners), torch.from_numpy(shares).float())


def mixed(images: Tensor, mixture: Mixture) -> Tensor:
    """Return the images (B, C, H, W) mixed with their partners."""
    shares = mixture.shares.to(images.device)[:, None, None, None]
    return shares * images + (1 - shares) * images[mixture.partners.to(images.device)]


def _lower_half(even: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return the quantiles of Beta(α, α), given that it is below 0.5."""
    places, chances = _quantiles(alpha)
    return np.asarray(np.interp(even, chances, places), np.float64)


@cache
def _quantiles(alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in [0, 0.5] and the chance to be below each, given that it is below 0.5.

    With u = x^α the density x^(α-1) (1-x)^(α-1) has no pole: (1 - u^(1/α))^(α-1) / α.
    """
    u = np.linspace(0, 0.5**alpha, _STEPS)
    places = u ** (1 / alpha)
    density = (1 - places) ** (alpha - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return places, below / below[-1]


@dataclass(frozen=True)
class Objective:
    """The loss: cross-entropy with labels that may be mixed, smoothed and weighed.

    Attributes:
        weights: (classes,) of the loss; None: all classes count the same.
        smoothing: share of every label that is spread evenly over all classes.
    """

    weights: Tensor | None = None
    smoothing: float = 0.0

    def loss(self, logits: Tensor, labels: Tensor, mixture: Mixture | None = None) -> Tensor:
        """Return the mean loss; the mean is one by weights, as PyTorch takes it.

        Args:
            logits: (B, classes).
            labels: (B,) int64, each image's own.
            mixture: what the images were mixed with.
        """
        if mixture is None and self.smoothing == 0:
            return nn.functional.cross_entropy(logits, labels, self.weights)
        weighed = self._weighed(labels, logits.shape[1], mixture)
        return -(weighed * torch.log_softmax(logits, 1)).sum() / weighed.sum()

    def mass(self, labels: Tensor, classes: int, mixture: Mixture | None = None) -> float:
        """Return the sum of weights that the mean of `loss` is taken over."""
        return float(self._weighed(labels, classes, mixture).sum())

    def _weighed(self, labels: Tensor, classes: int, mixture: Mixture | None) -> Tensor:
        """Return the weight (B, classes) of every answer."""
        targets = nn.functional.one_hot(labels, classes).float()
        if mixture is not None:
            shares = mixture.shares.to(labels.device)[:, None]
            others = targets[mixture.partners.to(labels.device)]
            targets = shares * targets + (1 - shares) * others
        targets = (1 - self.smoothing) * targets + self.smoothing / classes
        return targets if self.weights is None else targets * self.weights


UNWEIGHED: Final = Objective()
"""Every class and every label as it is."""


def class_weights(labels: Sequence[int], classes: int) -> Tensor:
    """Return weights (classes,) of the loss: images / (classes · images of the class).

    Their mean over the images is 1; a class without images has 0.
    """
    counts = torch.bincount(torch.tensor(labels), minlength=classes).double()
    present = int((counts > 0).sum())
    weights = len(labels) / (present * counts.clamp(min=1))
    return torch.where(counts > 0, weights, 0.0).float()
