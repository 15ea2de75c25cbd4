"""What an integer graph answers, on the kernels that a device runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import View, evaluation_batches, whole_view
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.model.configs import NetworkConfig

_BATCH = 128


@dataclass(frozen=True)
class Answers:
    """Logits of some images.

    Attributes:
        labels: (N,) the images' classes.
        logits: (N, classes) real.
    """

    labels: NDArray[np.int64]
    logits: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(np.mean(self.logits.argmax(1) == self.labels))

    @property
    def loss(self) -> float:
        """Mean cross-entropy, in nats."""
        below = self.logits - self.logits.max(1, keepdims=True)
        log = below - np.log(np.exp(below).sum(1, keepdims=True))
        return float(-log[np.arange(len(log)), self.labels].mean())


def view_logits(graph: Graph, views: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what an integer graph answers, as a file on the default kernels.

    Args:
        graph: an integer graph.
        views: (N, H, W, channels), as a device is fed.

    Returns:
        (N, classes) real logits.
    """
    return _asked(graph, Interpreter(write_tflite(graph)), views)


def _asked(graph: Graph, interpreter: Interpreter, views: NDArray[np.uint8]) -> NDArray[np.float64]:
    stored = np.stack([interpreter.invoke(one)[0] for one in views])
    return np.asarray(graph.outputs[0].real(stored))


def integer_answers(
    graph: Graph, images: Sequence[LabelledImage], config: NetworkConfig, view: View = whole_view
) -> Answers:
    """Classify images with an integer graph, as a file on the default kernels.

    Args:
        graph: an integer graph.
        images: the images; at least one.
        config: the network's input size and channels.
        view: what it is shown of an image.

    Raises:
        DataError: an image does not decode.
    """
    interpreter = Interpreter(write_tflite(graph))
    labels: list[NDArray[np.int64]] = []
    logits: list[NDArray[np.float64]] = []
    for views, of_batch in evaluation_batches(
        images, config.input_size, _BATCH, view, config.channels
    ):
        labels.append(of_batch)
        logits.append(_asked(graph, interpreter, views))
    return Answers(np.concatenate(labels), np.concatenate(logits))
