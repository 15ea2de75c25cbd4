"""The statistics of BatchNorm found anew on the cells of another microscope.

Stain, lamp and camera shift what every channel shows; BatchNorm subtracts the mean and divides by
the spread of the images that a network was trained on. Both need no labels. (Li et al., Revisiting
batch normalization for practical domain adaptation, 2016; the mixture with the old statistics is
that of Schneider et al., Improving robustness against common corruptions by covariate shift
adaptation, 2020.)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.presence import present
from qlvit_edge.training.varying import to_input

BATCH: Final = 256
"""Cells that are normalised together; of fewer than some 30, the spread says little."""


def reestimated(
    network: QLViT,
    views: NDArray[np.uint8],
    *,
    share: float = 1.0,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> QLViT:
    """Return a copy of a network with the statistics of its BatchNorm layers found on new cells.

    The ranges of the activations' quantisers are widened to what the new cells reach. Every layer
    sees what the layers before it make with their own new statistics. A network
    without BatchNorm is returned as it is.

    Args:
        network: the network; it is not changed.
        views: what it is shown of the new cells, (N, h, w, channels) uint8, N at least 2.
        share: of the new statistics, 0 to 1; the rest is what the network had.
        weights: of the cells, (N,), none negative; None: all alike. Weights against the frequency
            of the classes make the statistics those of the balanced mix that it was trained on.
        seed: of the order in which cells share a batch.

    Returns:
        The copy, in evaluation mode.
    """
    adapted = copy.deepcopy(network).eval()
    count = len(views)
    weighed = np.full(count, 1.0) if weights is None else weights / weights.mean()
    order = np.random.default_rng(seed).permutation(count)
    with torch.no_grad(), _collecting(adapted, share) as collectors:
        for chosen in np.array_split(order, -(-count // BATCH)):
            batch = torch.from_numpy(weighed[chosen]).float()
            for collector in collectors:
                collector.batch_weights = batch
            adapted(to_input(views[chosen], torch.device("cpu")))
        for collector in collectors:
            collector.settle()
    return adapted


class _Collector:
    """Gives one BatchNorm layer the statistics of each batch, and those of all at the end."""

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm, share: float) -> None:
        self.new_mean = present(layer.running_mean, "a layer's mean")
        self.new_variance = present(layer.running_var, "a layer's variance")
        self.old_mean, self.old_variance = self.new_mean.double(), self.new_variance.double()
        self.share = share
        self.batch_weights = torch.ones(0)
        self.total = 0.0
        self.mean_sum = torch.zeros_like(self.old_mean)
        self.square_sum = torch.zeros_like(self.mean_sum)

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Before the layer runs: take the batch's statistics, and let it normalise by them."""
        (x,) = inputs
        if x.dim() > 2:
            variance, mean = torch.var_mean(x.flatten(2), 2, correction=0)
            first = mean.double()
            second = variance.double() + first.square()
        else:
            first = x.double()
            second = first.square()
        # Attention heads that share a layer stand side by side in the batch.
        heads = len(first) // len(self.batch_weights)
        weights = self.batch_weights.double().repeat_interleave(heads)[:, None]
        total = float(weights.sum())
        sums = (weights * first).sum(0), (weights * second).sum(0)
        self.total += total
        self.mean_sum += sums[0]
        self.square_sum += sums[1]
        self._set(sums[0] / total, sums[1] / total)

    def settle(self) -> None:
        """Leave the layer with the statistics of all batches."""
        if self.total > 0:
            self._set(self.mean_sum / self.total, self.square_sum / self.total)

    def _set(self, mean: Tensor, square: Tensor) -> None:
        """Mix new moments (mean and mean square) with the old statistics."""
        variance = (square - mean.square()).clamp(min=0)
        self.new_mean.copy_((1 - self.share) * self.old_mean + self.share * mean)
        self.new_variance.copy_((1 - self.share) * self.old_variance + self.share * variance)


@contextmanager
def _collecting(network: QLViT, share: float) -> Iterator[list[_Collector]]:
    """Collect in every BatchNorm layer for as long as the context is entered."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    collectors = [_Collector(layer, share) for layer in layers]
    # The ranges of activations widen to what the new cells reach: nothing is to be clipped.
    quantisers = [m for m in network.modules() if isinstance(m, UniformQuantiser)]
    for quantiser in quantisers:
        quantiser.train()
    handles = [
        layer.register_forward_pre_hook(c) for layer, c in zip(layers, collectors, strict=True)
    ]
    try:
        yield collectors
    finally:
        for quantiser in quantisers:
            quantiser.eval()
        for handle in handles:
            handle.remove()
