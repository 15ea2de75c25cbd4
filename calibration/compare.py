"""Every observer's integer network, side by side, on the images of `evaluation_images`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.collect import Observation, with_errors
from qlvit_edge.calibration.evaluation_images import EvaluationImages
from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.observers import OBSERVERS, ObserverName
from qlvit_edge.converters.lower.checkpoint import float_graph, integer_graph
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.preprocess import load
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Row:
    """One observer's integer network.

    Attributes:
        observer: its name.
        accuracy: share of these images with the right class, on the default kernels.
        agreement: share with the float network's class.
        mean_sqnr_db: signal to noise ratio, mean over the layers, of the NumPy reference.
        worst_sqnr_db: the lowest.
        worst_layer: the tensor that has it.
        sqnr_db: all of them, by tensor name in the network's order.
    """

    observer: ObserverName
    accuracy: float
    agreement: float
    mean_sqnr_db: float
    worst_sqnr_db: float
    worst_layer: str
    sqnr_db: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        float_accuracy: of the float network on these images.
        images: how many.
        origin: which they are.
        rows: one per observer.
    """

    float_accuracy: float
    images: int
    origin: str
    rows: list[Row]

    @property
    def best(self) -> Row:
        """Most answers like the float network's, then the highest mean signal to noise ratio.

        Not accuracy: where it differs by a few images it is chance that decides.
        """
        return max(self.rows, key=lambda row: (row.agreement, row.mean_sqnr_db))


def compare(
    checkpoint: Checkpoint, observation: Observation, chosen: EvaluationImages, progress: Progress
) -> Comparison:
    """Build every observer's integer network and measure it.

    Accuracy is that of the ``.tflite`` file (``fast`` softmax) on the default kernels; the
    signal to noise ratios are the NumPy reference's on a few calibration images, as in
    calibration.json.

    Args:
        checkpoint: the trained network.
        observation: the calibration images' pass.
        chosen: see `evaluation_images`.
        progress: makes a progress bar from a description and a total.

    Raises:
        DataError: an image does not decode.
    """
    network = checkpoint.run.network
    floating = write_tflite(float_graph(checkpoint.network, "float"))
    found = [with_errors(checkpoint, observation, observer) for observer in OBSERVERS]
    models = [Interpreter(floating)] + [
        Interpreter(write_tflite(integer_graph(checkpoint, calibration, "fast")))
        for calibration in found
    ]
    answers = np.empty((len(models), len(chosen.images)), np.int64)
    with progress("comparing the observers", len(chosen.images)) as advance:
        for column, entry in enumerate(chosen.images):
            view = load(entry.path, network.input_size, network.channels)
            for row, model in enumerate(models):
                logits = model.invoke(view.astype(model.input.dtype))[0]
                answers[row, column] = logits.argmax()
            advance()
    labels = np.array([entry.label for entry in chosen.images])
    rows = [
        _row(calibration, classes, answers[0], labels)
        for calibration, classes in zip(found, answers[1:], strict=True)
    ]
    accuracy = float((answers[0] == labels).mean())
    return Comparison(accuracy, len(labels), chosen.origin, rows)


def _row(
    calibration: Calibration,
    classes: NDArray[np.int64],
    float_classes: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> Row:
    errors = calibration.errors()
    worst = min(errors, key=lambda name: errors[name])
    return Row(
        observer=calibration.observer,
        accuracy=float((classes == labels).mean()),
        agreement=float((classes == float_classes).mean()),
        mean_sqnr_db=float(np.mean(list(errors.values()))),
        worst_sqnr_db=errors[worst],
        worst_layer=worst,
        sqnr_db=errors,
    )
