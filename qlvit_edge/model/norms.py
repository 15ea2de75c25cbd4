"""The norm layers of the family: BatchNorm, or LayerNorm over the channels of each position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qlvit_edge.model.family import NormKind


class ChannelNorm(nn.Module):
    """LayerNorm over the channels at each position, for (B, C, …).

    A position whose channels are all zero, as padding is, becomes `bias`: so padding before
    this norm and padding its standardised values are the same thing.

    Attributes:
        weight: (C,), the gain γ.
        bias: (C,), the offset β.
        epsilon: added to the variance.
    """

    def __init__(self, width: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, …) along its channels."""
        last = nn.functional.layer_norm(
            x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.epsilon
        )
        return last.movedim(-1, 1)


Norm = nn.BatchNorm2d | nn.BatchNorm1d | ChannelNorm


def make_norm(kind: NormKind, width: int) -> nn.BatchNorm2d | ChannelNorm:
    """Return the norm of a map (B, width, H, W)."""
    return nn.BatchNorm2d(width) if kind == "batch" else ChannelNorm(width)


def make_vector_norm(kind: NormKind, width: int) -> nn.BatchNorm1d | ChannelNorm:
    """Return the norm of a vector (B, width)."""
    return nn.BatchNorm1d(width) if kind == "batch" else ChannelNorm(width)
