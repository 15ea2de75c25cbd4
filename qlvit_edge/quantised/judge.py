"""What an epoch is chosen by: how far integers are from the float network where neither trained.

Images that were held out are of the microscope and the specimens that the run knows. Shown as they
are, they say little of ranges that are too narrow for others; varied as in training they stand for
those. So both count: the whole images, and the same ones varied once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qlvit_edge.choices import Balance
from qlvit_edge.converters.graph import Graph
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import CachedImage, drawn_batches, training_batches
from qlvit_edge.quantised.answers import integer_answers, view_logits
from qlvit_edge.training.checkpoint import RunConfig
from qlvit_edge.training.loop import augmentation_of
from qlvit_edge.training.prediction import predict
from qlvit_edge.training.state import Row
from qlvit_edge.training.varying import Varying, to_input

Views = NDArray[np.uint8]
Logits = NDArray[np.float64]


def training_views(
    run: RunConfig,
    cached: Sequence[CachedImage],
    draw: tuple[int, int],
    device: torch.device,
    balance: Balance = "none",
    count: int | None = None,
) -> Iterator[tuple[Views, NDArray[np.int64]]]:
    """Yield views as training shows them, as a device is fed: (B, H, W, channels), and labels (B,).

    Args:
        run: whose settings say how images are varied.
        cached: the images.
        draw: numbers that say how each one is varied, and their order.
        device: where they are varied.
        balance: what is drawn equally often.
        count: views in all; None: as many as there are images.
    """
    network, batch = run.network, run.training.batch
    batches = training_batches(
        *(cached, network.input_size, batch, *draw),
        channels=network.channels,
        balance=balance,
        count=count,
        augmentation=augmentation_of(run, cached),
    )
    drawn = drawn_batches(cached, batch, *draw, balance, count)
    for images, labels, _ in Varying(run, device, vary_look=True).varied(batches, drawn):
        whole = images.round().clamp(0, 255).to(torch.uint8)
        yield whole.permute(0, 2, 3, 1).cpu().numpy(), labels.numpy()


class Judge:
    """Compares integers with the float network on held-out images, whole and varied."""

    def __init__(
        self,
        run: RunConfig,
        images: Sequence[LabelledImage],
        cached: Sequence[CachedImage],
        teacher: nn.Module,
    ) -> None:
        """Ask the float network.

        Args:
            run: the fine-tuning.
            images: that are shown whole; at least one.
            cached: of these, the ones that are shown varied.
            teacher: the float network, in evaluation.

        Raises:
            DataError: an image does not decode.
        """
        self._run, self._images = run, images
        device = next(teacher.parameters()).device
        _, self._of_whole = predict(teacher, images, run.network, device)
        self._varied = [views for views, _ in training_views(run, cached, (0, 0), device)]
        with torch.no_grad():
            self._of_varied = [teacher(to_input(v, device)).cpu().numpy() for v in self._varied]

    def row(self, graph: Graph) -> Row:
        """Return what an integer graph is worth.

        ``divergence`` is the mean over all views, in nats, of the Kullback-Leibler divergence of
        its probabilities from the float network's; ``validation_accuracy`` and ``validation_loss``
        are of whole images.
        """
        whole = integer_answers(graph, self._images, self._run.network)
        found = [divergence(self._of_whole, whole.logits)]
        for views, taught in zip(self._varied, self._of_varied, strict=True):
            found.append(divergence(taught, view_logits(graph, views)))
        return {
            "validation_accuracy": whole.accuracy,
            "validation_loss": whole.loss,
            "divergence": float(np.concatenate(found).mean()),
        }


def divergence(taught: NDArray[np.floating], logits: Logits) -> Logits:
    """Return the Kullback-Leibler divergence of each answer from what is taught, (N,) in nats.

    Args:
        taught: (N, classes) logits of the float network.
        logits: (N, classes) of the integers.
    """
    wanted, found = _log_probabilities(np.asarray(taught, np.float64)), _log_probabilities(logits)
    return np.asarray((np.exp(wanted) * (wanted - found)).sum(1))


def _log_probabilities(logits: Logits) -> Logits:
    below = logits - logits.max(1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(1, keepdims=True)))
