"""Every observer's integer network, side by side, on labelled images that nothing else uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.collect import Observed, with_errors
from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.images import choose_images
from qlvit_edge.calibration.observers import OBSERVERS, ObserverName
from qlvit_edge.converters.lower.checkpoint import float_graph, integer_graph
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.choose import evenly
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.split import Split, select
from qlvit_edge.errors import CalibrationError, DataError
from qlvit_edge.files import sha256
from qlvit_edge.preprocess import load, read_file
from qlvit_edge.runtime.interpreter import Interpreter
from qlvit_edge.training.checkpoint import Checkpoint
from qlvit_edge.training.holdout import hold_out

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Judged:
    """Labelled images that accuracy is measured on.

    Attributes:
        images: neither calibration nor test images.
        origin: which they are, in words.
    """

    images: Sequence[LabelledImage]
    origin: str


@dataclass(frozen=True)
class Row:
    """One observer's integer network.

    Attributes:
        observer: its name.
        accuracy: share of the judged images with the right class, on the default kernels.
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
        float_accuracy: of the float network on the judged images.
        images: number of judged images.
        origin: which they are.
        rows: one an observer.
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


def images_to_judge(
    checkpoint: Checkpoint,
    folder: ImageFolder,
    splits: Sequence[Split],
    calibration: Calibration,
    count: int,
    test_files: Iterable[Path] = (),
) -> Judged:
    """Choose labelled images that are neither calibration nor test images.

    Those that training held out for validation where there are enough, since the network has
    not seen them; else other training images.

    Args:
        checkpoint: the trained network.
        folder: where the images are; its classes must be the run's.
        splits: the run's split first; the test images of all are refused.
        calibration: whose images are refused too, by content.
        count: images wanted, spread over the classes.
        test_files: test images elsewhere, refused by content.

    Raises:
        DataError: the folder has other classes.
        CalibrationError: no image is left.
    """
    run = checkpoint.run
    if list(folder.classes) != run.classes:
        raise DataError(
            folder.root,
            f"has classes {', '.join(folder.classes)}, the run {', '.join(run.classes)}",
            "compare on the data of this run",
        )
    everything = len(folder.images) * len(folder.classes)
    allowed, _ = choose_images(folder, splits, everything, test_files)
    used = set(calibration.images.values())
    unused = [image for image in allowed if sha256(read_file(image.path)) not in used]
    trained_on = {*splits[0].train}
    known = any(image.relative in trained_on for image in unused)
    origin = f"{'training images' if known else 'images'} that calibration did not use"
    if run.training.validation > 0 and {*splits[0].train} <= {i.relative for i in folder.images}:
        trained = select(folder, splits[0].train)
        _, held = hold_out(trained, splits[0], run.training.validation, run.training.seed)
        names = {image.relative for image in held}
        held = [image for image in unused if image.relative in names]
        if len(held) >= min(count, len(unused)) // 2:
            unused, origin = held, "images that training held out for validation"
    if not unused:
        raise CalibrationError(
            folder.root, "no image is left to judge by", "calibrate on fewer with --images"
        )
    chosen: list[LabelledImage] = []
    share = -(-count // len(folder.classes))
    for label in range(len(folder.classes)):
        own = [image for image in unused if image.label == label]
        wanted = min(share, len(own))
        chosen += [own[index * len(own) // wanted] for index in range(wanted)]
    return Judged([chosen[index] for index in evenly(len(chosen), count)], origin)


def compare(
    checkpoint: Checkpoint, observed: Observed, judged: Judged, progress: Progress
) -> Comparison:
    """Build every observer's integer network and measure it.

    Accuracy is that of the ``.tflite`` file (``fast`` softmax) on the default kernels; the
    signal to noise ratios are the NumPy reference's on a few calibration images, as in
    calibration.json.

    Args:
        checkpoint: the trained network.
        observed: the calibration images' pass.
        judged: see `images_to_judge`.
        progress: makes a progress bar from a description and a total.

    Raises:
        DataError: an image does not decode.
    """
    network = checkpoint.run.network
    floating = write_tflite(float_graph(checkpoint.network, "float"))
    found = [with_errors(checkpoint, observed, observer) for observer in OBSERVERS]
    models = [Interpreter(floating)] + [
        Interpreter(write_tflite(integer_graph(checkpoint, calibration, "fast")))
        for calibration in found
    ]
    answers = np.empty((len(models), len(judged.images)), np.int64)
    with progress("comparing the observers", len(judged.images)) as advance:
        for column, entry in enumerate(judged.images):
            view = load(entry.path, network.input_size, network.channels)
            for row, model in enumerate(models):
                logits = model.invoke(view.astype(model.input.dtype))[0]
                answers[row, column] = logits.argmax()
            advance()
    labels = np.array([entry.label for entry in judged.images])
    rows = [
        _row(calibration, classes, answers[0], labels)
        for calibration, classes in zip(found, answers[1:], strict=True)
    ]
    accuracy = float((answers[0] == labels).mean())
    return Comparison(accuracy, len(labels), judged.origin, rows)


def _row(
    calibration: Calibration,
    classes: NDArray[np.int64],
    float_classes: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> Row:
    errors = {
        name: tensor.sqnr_db
        for name, tensor in calibration.tensors.items()
        if tensor.sqnr_db is not None
    }
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
