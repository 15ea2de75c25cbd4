"""What a network answers to views of cells, and the features that its head reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.quantisers import quantised_weight
from qlvit_edge.training.varying import to_input

_BATCH = 128
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Answers:
    """Answers to V views of each of N cells.

    Attributes:
        probabilities: (V, N, classes) float64.
        features: (V, N, width) float32, what the head's linear layer reads.
    """

    probabilities: NDArray[np.float64]
    features: NDArray[np.float32]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Probabilities (N, classes), averaged over the views."""
        return np.asarray(self.probabilities.mean(0))

    @property
    def classes(self) -> NDArray[np.int64]:
        """The classes (N,) of the averaged probabilities."""
        return np.asarray(self.mean.argmax(1), np.int64)


@torch.no_grad()
def answers(network: QLViT, views: NDArray[np.uint8]) -> Answers:
    """Show a network views of cells.

    Args:
        network: in evaluation mode.
        views: (V, N, h, w, channels) uint8, V views of each cell.
    """
    count = views.shape[1]
    flat = np.ascontiguousarray(views).reshape(-1, *views.shape[2:])
    features = [
        features_of(network, to_input(flat[start : start + _BATCH], _CPU))
        for start in range(0, len(flat), _BATCH)
    ]
    joined = torch.cat(features)
    probabilities = torch.softmax(logits_of(network, joined).double(), 1).numpy()
    return Answers(
        probabilities.reshape(len(views), count, -1), joined.numpy().reshape(len(views), count, -1)
    )


def features_of(network: QLViT, images: Tensor) -> Tensor:
    """Return the features (B, width) that the head's linear layer reads of images.

    Args:
        network: the network.
        images: (B, channels, h, w), 0…255.
    """
    x = network.stem(images)
    for block in network.blocks:
        x = block(x)
    head = network.head
    features: Tensor = head.quantiser(head.norm(x.mean((2, 3))))
    return features


def logits_of(network: QLViT, features: Tensor) -> Tensor:
    """Return the logits (B, classes) that the head's linear layer makes of features."""
    linear = network.head.linear
    return nn.functional.linear(features, quantised_weight(linear.weight), linear.bias)


def turned(views: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return views (V, N, h, w, C) and the same turned by half a circle, (2 V, N, h, w, C)."""
    return np.concatenate([views, views[:, :, ::-1, ::-1]])
