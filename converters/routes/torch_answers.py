"""What PyTorch says about the images that a converted file is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.converters.proof.accuracy import (
    Accuracies,
    BudgetVerdict,
    judge,
    judge_budget,
)
from qlvit_edge.converters.proof_images import ProofImages, Sample
from qlvit_edge.converters.routes.closeness import Logits
from qlvit_edge.data.choose import evenly
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import load
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint
from qlvit_edge.training.varying import to_input

_BATCH = 16


@dataclass(frozen=True)
class TorchAnswers:
    """Images as the network sees them, with its answers.

    Attributes:
        views: (N, H, W, channels) uint8.
        labels: (N,) int64, the true classes.
        logits: (N, classes) float64, PyTorch's.
        sample: which images they are.
        names: of the classes.
    """

    views: NDArray[np.uint8]
    labels: NDArray[np.int64]
    logits: Logits
    sample: Sample
    names: Sequence[str]

    def accuracies(self, logits: Logits) -> Accuracies:
        """Hold the classes of a file's logits (N, classes) against PyTorch's and the true ones."""
        return judge(self.labels, self.logits.argmax(1), logits.argmax(1), self.names)

    def budget(self, logits: Logits, max_drop: float) -> BudgetVerdict:
        """Hold a file's logits to a budget, in points."""
        return judge_budget(
            self.accuracies(logits), max_drop, every_class=self.sample.shows_every_class
        )


def torch_answers(
    checkpoint: Checkpoint, proof: ProofImages, count: int, progress: Progress
) -> TorchAnswers:
    """Decode at most ``count`` of the proof's images and classify them in PyTorch.

    Raises:
        DataError: an image does not decode.
    """
    images = [proof.images[index] for index in evenly(len(proof.images), count)]
    size, channels = checkpoint.run.network.input_size, checkpoint.run.network.channels
    views = np.stack([load(image.path, size, channels) for image in images])
    with progress("running PyTorch", len(views)) as advance:
        logits = torch_logits(checkpoint.network, views, advance)
    labels = np.array([image.label for image in images], np.int64)
    names = checkpoint.run.classes
    return TorchAnswers(views, labels, logits, proof.sample(len(images)), names)


def torch_logits(network: QLViT, views: NDArray[np.uint8], advance: Callable[[], None]) -> Logits:
    """Return PyTorch's logits (N, classes) of images (N, H, W, channels) uint8."""
    rows = []
    for start in range(0, len(views), _BATCH):
        batch = views[start : start + _BATCH]
        with torch.inference_mode():
            rows.append(network(to_input(batch, torch.device("cpu"))).double().numpy())
        for _ in batch:
            advance()
    return np.concatenate(rows)
