"""The run folder that a fitting leaves: like any other, calibrated anew and with its own guard.

It is made beside its place and moved there when it is whole.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from qlvit_edge.adaptation.answers import answers
from qlvit_edge.adaptation.cells import AdaptationCell, Cells
from qlvit_edge.adaptation.guarding import fitted_guard
from qlvit_edge.adaptation.session import Adaptation
from qlvit_edge.calibration.collect import calibrate
from qlvit_edge.calibration.file import Calibration, load_calibration
from qlvit_edge.calibration.guard import write_guard
from qlvit_edge.choices import DEFAULT_OBSERVER, ObserverName
from qlvit_edge.data.choose import of_every_class
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.training_images import (
    TrainingImages,
    read_training_images,
    write_training_images,
)
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import ensure_writable, write_bytes, write_text
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.modelfile.guard import Guard
from qlvit_edge.progress import Progress
from qlvit_edge.training.adapted import CELLS_FOLDER, Adapted
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    BUNDLED_CROPS,
    CALIBRATION_FILE,
    FORMAT,
    RUN_FILE,
    SPLIT_FILE,
    Checkpoint,
    load_checkpoint,
    save_tensors,
    write_run_config,
)

SAMPLE: Final = 256
"""Cells kept in the run folder, for calibration and proof."""


@dataclass(frozen=True)
class Written:
    """What was found anew for a run folder.

    Attributes:
        calibration: on the new cells.
        guard: of the new cells; in words why there is none.
    """

    calibration: Calibration
    guard: Guard | str


def require_free(out: Path) -> None:
    """Refuse a target that holds something.

    Raises:
        CheckpointError: it is a file, or a folder that is not empty.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        found = "already holds a run" if (out / RUN_FILE).exists() else "is there already"
        raise CheckpointError(out, found, "choose another --out")


def require_outside(out: Path, images: Path) -> None:
    """Refuse a target among the pictures: its sample of cells would be fitted to another time.

    Raises:
        CheckpointError: ``out`` lies in ``images``.
    """
    if out.resolve().is_relative_to(images.resolve()):
        raise CheckpointError(out, f"lies among the pictures of {images}", "choose another --out")


def require_listed(checkpoint: Checkpoint) -> TrainingImages:
    """Return what a run was trained on.

    Raises:
        CheckpointError: it does not say: labelled cells could then not be told from others.
    """
    listed = read_training_images(checkpoint.folder)
    if listed is None:
        raise CheckpointError(
            checkpoint.folder, "does not list its training images", "train it with this version"
        )
    return listed


def write_run(
    out: Path,
    checkpoint: Checkpoint,
    adaptation: Adaptation,
    recorded: Adapted,
    unlabelled: Cells,
    labelled: Cells | None,
    progress: Progress,
) -> Written:
    """Write the run folder, calibrate it and fit its guard.

    Args:
        out: where; must be free.
        checkpoint: the run that was fitted.
        adaptation: what came of it.
        recorded: the same, as run.json has it.
        unlabelled: the cells.
        labelled: those with labels.
        progress: makes a progress bar.

    Returns:
        The new calibration and guard.

    Raises:
        CheckpointError: ``out`` is not free, or the run does not list its training images.
        CalibrationError: see `calibrate`.
        ConversionError: the network cannot be lowered.
    """
    require_free(out)
    ensure_writable(out.absolute().parent)
    with _beside(out) as folder:
        _write_weights(folder, checkpoint, adaptation.network, recorded)
        if labelled is not None:
            _add_training_images(folder, require_listed(checkpoint), labelled.cells)
        images = _write_sample(folder, adaptation.network, unlabelled)
        fitted = load_checkpoint(folder)
        with progress("calibrating", len(images)) as advance:
            calibration = calibrate(fitted, images, _observer_of(checkpoint), advance)
        write_text(folder / CALIBRATION_FILE, calibration.model_dump_json(indent=1) + "\n")
        domain = recorded.images or "new microscope"
        known = [replace(image, domain=domain) for image in images]
        with progress("fitting the guard", len(known)) as advance:
            guard = fitted_guard(fitted, calibration, checkpoint, known, domain, advance)
        if isinstance(guard, Guard):
            write_guard(fitted, guard)
    return Written(calibration, guard)


def _observer_of(checkpoint: Checkpoint) -> ObserverName:
    """Return the observer that the run was calibrated by, which was chosen for its network."""
    path = checkpoint.folder / CALIBRATION_FILE
    if not path.exists():
        return DEFAULT_OBSERVER
    return load_calibration(path, checkpoint.sha256).observer


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that becomes it in the end, and is gone if it does not."""
    target = out.absolute()
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())
        os.replace(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_weights(folder: Path, checkpoint: Checkpoint, network: QLViT, recorded: Adapted) -> None:
    """Write the weights, the run's description, and what it takes from the run before."""
    run = checkpoint.run
    # Ranges of training as integers belong to the weights before.
    write_run_config(folder, run.model_copy(update={"adapted_from": recorded, "quantised": None}))
    save_tensors(folder / BEST_FILE, dict(network.state_dict()), {"format": FORMAT, "epoch": 0})
    shutil.copyfile(checkpoint.folder / SPLIT_FILE, folder / SPLIT_FILE)
    listed = read_training_images(checkpoint.folder)
    if listed is not None:
        write_training_images(folder, listed)
    if run.golden_images != BUNDLED_CROPS:
        shutil.copytree(checkpoint.folder / run.golden_images, folder / run.golden_images)


def _add_training_images(
    folder: Path, listed: TrainingImages, cells: Sequence[AdaptationCell]
) -> None:
    """List labelled cells as training images: what a network has learnt from is no test."""
    own = TrainingImages(
        split_fingerprint=listed.split_fingerprint,
        images=len(cells),
        digests=base64.b64encode(b"".join(sorted({cell.content for cell in cells}))).decode(
            "ascii"
        ),
    )
    write_training_images(folder, listed.joined(own))


def _write_sample(folder: Path, network: QLViT, cells: Cells) -> list[LabelledImage]:
    """Write a sample of the cells, evenly over the classes that the network answers."""
    classes = answers(network, cells.views).classes
    entries = [
        LabelledImage(Path(str(number)), cell.name, int(label))
        for number, (cell, label) in enumerate(zip(cells.cells, classes, strict=True))
    ]
    (folder / CELLS_FOLDER).mkdir()
    images = []
    for place, entry in enumerate(of_every_class(entries, SAMPLE)):
        picture = cells.cells[int(entry.path.name)].picture
        path = folder / CELLS_FOLDER / f"{place:04}.png"
        encoded, content = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
        if not encoded:
            raise ValueError("a cell cannot be written as PNG")
        write_bytes(path, content.tobytes())
        images.append(LabelledImage(path, f"{CELLS_FOLDER}/{path.name}", entry.label))
    return images
