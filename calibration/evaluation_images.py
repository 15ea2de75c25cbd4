"""Which labelled images a calibration or its layers are measured on: none that was used before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge import bundled
from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.images import choose_images, files_elsewhere
from qlvit_edge.data.choose import evenly, of_every_class
from qlvit_edge.data.folder import ImageFolder, LabelledImage, scan
from qlvit_edge.data.relabel import labelled_as
from qlvit_edge.data.split import Split, load_split, select
from qlvit_edge.errors import CalibrationError, DataError
from qlvit_edge.files import sha256
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.preprocess import load, read_file
from qlvit_edge.training.checkpoint import HOLD_OUT_DRAW, SPLIT_FILE, Checkpoint
from qlvit_edge.training.holdout import hold_out


@dataclass(frozen=True)
class EvaluationImages:
    """Labelled images that accuracy is measured on.

    Attributes:
        images: neither calibration nor test images.
        origin: which they are, in words.
    """

    images: Sequence[LabelledImage]
    origin: str

    @property
    def labels(self) -> list[int]:
        """Their classes."""
        return [image.label for image in self.images]

    def views(self, network: NetworkConfig) -> NDArray[np.uint8]:
        """Return them as the network takes them, (N, h, w, channels) uint8.

        Raises:
            DataError: an image does not decode.
        """
        size, channels = network.input_size, network.channels
        return np.stack([load(image.path, size, channels) for image in self.images])


def evaluation_images(
    checkpoint: Checkpoint,
    folder: ImageFolder,
    splits: Sequence[Split],
    calibration: Calibration,
    count: int,
    test_files: Iterable[Path] = (),
) -> EvaluationImages:
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
    allowed, _ = choose_images(folder, splits, len(folder.images), test_files)
    used = set(calibration.images.values())
    unused = [image for image in allowed if sha256(read_file(image.path)) not in used]
    trained_on = {*splits[0].train}
    known = any(image.relative in trained_on for image in unused)
    origin = f"{'training images' if known else 'images'} that calibration did not use"
    drawn = run.training.validation > 0 and run.training.hold_out_draw == HOLD_OUT_DRAW
    if drawn and {*splits[0].train} <= {i.relative for i in folder.images}:
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
    return EvaluationImages(of_every_class(unused, count), origin)


def images_for_layers(
    checkpoint: Checkpoint,
    calibration: Calibration,
    data: Path | None,
    count: int,
    bundled_run: bool,
    split_path: Path | None = None,
) -> EvaluationImages:
    """Choose the images that layers are measured on, one at a time.

    Args:
        checkpoint: the trained network.
        calibration: whose images are not taken.
        data: folder of images; None: what the run records, for a bundled run the bundled crops.
        count: images wanted.
        bundled_run: whether the run is one.
        split_path: another split whose test images are not taken either.

    Raises:
        DataError: the data is not there or has other classes.
        CalibrationError: no image is left.
    """
    if bundled_run and data is None:
        every = labelled_as(scan(bundled.CROPS), checkpoint.run.classes)
        chosen = [every[index] for index in evenly(len(every), count)]
        return EvaluationImages(chosen, "the bundled crops")
    recorded = Path(checkpoint.run.data)
    if data is None and not recorded.exists():
        raise DataError(
            recorded, "the data this run was trained on is not there", "name it with --data"
        )
    splits = [load_split(checkpoint.folder / SPLIT_FILE)]
    test_files = files_elsewhere(data, recorded, splits[0])
    if split_path is not None:
        splits.append(load_split(split_path))
    folder = scan(data or recorded)
    return evaluation_images(checkpoint, folder, splits, calibration, count, test_files)
