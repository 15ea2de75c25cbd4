"""Where in an image a checkpoint finds a class: Grad-CAM by captum, and class maps.

Both look at the map that the head averages. Grad-CAM weighs each of its channels by the mean of
the logit's gradient there (Selvaraju et al. 2017). A class map has the same slopes and besides
what does not depend on the position, so that its mean is the logit: what
`qlvit_edge.inference.class_maps` gives of an integer file, in float.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import preprocess
from qlvit_edge.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class GradCamMap:
    """What a checkpoint says of an image, and where it finds one class.

    Attributes:
        label: the class that it answers.
        probability: its probability.
        positions: (h, w) float64, Grad-CAM of the class that was asked for, negative parts kept.
    """

    label: str
    probability: float
    positions: NDArray[np.float64]


class GradCam:
    """Grad-CAM of a checkpoint. Needs the extra `explain`.

    Attributes:
        labels: the classes.
        input_size: (height, width) of the network's input.
        channels: of the images that it reads: 3, or 1 for grey.
        source: the run folder, and the hash of its weights.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint as `load_checkpoint` reads it."""
        from captum.attr import LayerGradCam

        self._network = checkpoint.network.eval()
        self.labels = tuple(checkpoint.run.classes)
        self.input_size = checkpoint.run.network.input_size
        self.channels = checkpoint.run.network.channels
        self.source = f"{checkpoint.folder}, SHA-256 of its weights {checkpoint.sha256}"
        self._layer = LayerGradCam(self._network, self._network.head)

    def explain(self, image: NDArray[np.uint8], label: str | None = None) -> GradCamMap:
        """Classify an image, and say where a class is.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.
            label: a class; None: the one that is answered.

        Raises:
            ValueError: there is no such class.
        """
        if label is not None and label not in self.labels:
            raise ValueError(f"{label!r} is none of the classes {', '.join(self.labels)}")
        config = self._network.config
        pixels = preprocess(image, config.input_size, config.channels)
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            chances = self._network(batch).softmax(1)[0]
        best = int(chances.argmax())
        target = best if label is None else self.labels.index(label)
        found = self._layer.attribute(batch, target, attribute_to_layer_input=True)
        return GradCamMap(
            label=self.labels[best],
            probability=float(chances[best]),
            positions=found[0, 0].detach().double().numpy(),
        )


def class_maps(network: QLViT, images: torch.Tensor) -> NDArray[np.float64]:
    """Return the class maps of a network in evaluation mode.

    Args:
        network: any of the family.
        images: (B, channels, H, W), 0…255, on the network's device.

    Returns:
        (B, classes, h, w): logits by position of the map that the head averages, whose means over
        the positions are the logits.
    """
    with torch.no_grad():
        x = _read_by_head(network, images)
    x.requires_grad_()
    with torch.enable_grad():
        logits = network.head(x)
        columns = logits.sum(0)  # images do not mix in evaluation
        slopes = [torch.autograd.grad(column, x, retain_graph=True)[0] for column in columns]
    gradients = torch.stack(slopes, 1).sum((3, 4))  # by the average, (B, classes, channels)
    away = (x - x.mean((2, 3), keepdim=True)).detach()
    maps = logits.detach()[..., None, None] + torch.einsum("bkc,bchw->bkhw", gradients, away)
    return np.asarray(maps.cpu().double().numpy())


def _read_by_head(network: QLViT, images: torch.Tensor) -> torch.Tensor:
    """What the head is given, (B, channels, h, w)."""
    given: list[torch.Tensor] = []
    hook = network.head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        network(images)
    finally:
        hook.remove()
    return given[0].clone()
