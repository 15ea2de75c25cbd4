"""What a network answers on images as they are, in as many processes as train it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import View, evaluation_batches, whole_view
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.training.varying import to_input
from qlvit_edge.training.workers import ALONE, Workers

EVALUATION_BATCH = 128


@torch.no_grad()
def predict(
    network: nn.Module,
    images: Sequence[LabelledImage],
    config: NetworkConfig,
    device: torch.device,
    view: View = whole_view,
    workers: Workers = ALONE,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Classify images; returns labels (N,) and logits (N, classes).

    Args:
        network: a network in evaluation mode.
        images: the images.
        config: the network's input size and channels.
        device: where the network is.
        view: what it is shown of an image: all of it, or the crop of its cell.
        workers: the processes that share the images and all get all answers.
    """
    logits = np.zeros((len(images), config.classes), np.float32)
    # Whole batches are shared out: an image's logits depend on their size in the last bits.
    starts = range(0, len(images), EVALUATION_BATCH)[workers.rank :: workers.size]
    own = [image for start in starts for image in images[start : start + EVALUATION_BATCH]]
    batches = evaluation_batches(own, config.input_size, EVALUATION_BATCH, view, config.channels)
    for start, (views, _) in zip(starts, batches, strict=True):
        found = network(to_input(views, device)).float().cpu().numpy()
        logits[start : start + len(found)] = found
    labels = np.array([image.label for image in images], np.int64)
    return labels, workers.gathered(logits)
