"""What becomes of a batch on the device: tensors, varied and mixed as the run's settings say."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qlvit_edge.data.chance import Drawn
from qlvit_edge.training.checkpoint import RunConfig
from qlvit_edge.training.paper_views import drawn_variation, vary
from qlvit_edge.training.targets import Mixture, drawn_mixture, mixed

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def to_input(views: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Turn (B, H, W, C) uint8 into the network's (B, C, H, W) float input, values 0…255."""
    return torch.from_numpy(views).to(device).permute(0, 3, 1, 2).float().contiguous()


class Varying:
    """Brings the batches of one epoch to the device and varies them there.

    Attributes:
        waited: seconds in which the next batch was not ready.
    """

    def __init__(self, run: RunConfig, device: torch.device, *, vary_look: bool) -> None:
        """Vary batches.

        Args:
            run: whose settings say how.
            device: where.
            vary_look: vary colours too.
        """
        self._run = run
        self._device = device
        self._vary_look = vary_look
        self.waited = 0.0

    def varied(
        self, batches: Iterable[Batch], drawn: Iterable[Drawn]
    ) -> Iterator[tuple[Tensor, Tensor, Mixture | None]]:
        """Yield images (B, C, h, w) float32, their labels (B,), and what they were mixed with.

        Args:
            batches: views (B, H, W, C) uint8 and labels.
            drawn: which images these are.
        """
        coming = iter(batches)
        for those in drawn:
            began = time.monotonic()
            views, labels = next(coming)
            self.waited += time.monotonic() - began
            images = to_input(views, self._device)
            if len(labels) == 0:  # of a short batch this process has nothing
                yield images, torch.from_numpy(labels), None
                continue
            if self._run.training.augment == "paper":
                channels = self._run.network.channels
                variation = drawn_variation(those, channels, vary_look=self._vary_look)
                images = vary(images, variation, self._run.network.input_size)
            mixture = None
            if self._run.training.mixup:
                mixture = drawn_mixture(those, self._run.training.mixup)
                images = mixed(images, mixture)
            yield images, torch.from_numpy(labels), mixture
