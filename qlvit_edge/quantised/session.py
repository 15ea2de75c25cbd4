"""One quantised fine-tuning: from a calibrated run folder to another one, with its own ranges."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import torch

from qlvit_edge.calibration.file import TRAINED_FORMAT, Calibration
from qlvit_edge.converters.lower import require_lowerable
from qlvit_edge.data.choose import of_every_class
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.loader import cache_images, check_images
from qlvit_edge.data.split import Split, require_fit, select
from qlvit_edge.data.training_images import (
    list_training_images,
    read_training_images,
    write_training_images,
)
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import atomic_path, sha256, write_json, write_text
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.preprocess import note_on
from qlvit_edge.presence import present
from qlvit_edge.quantised.judge import Judge
from qlvit_edge.quantised.loop import fine_tune
from qlvit_edge.quantised.outcome import Integers, compare
from qlvit_edge.quantised.ranges import TrainedRanges
from qlvit_edge.quantised.student import Student
from qlvit_edge.reading import read_json
from qlvit_edge.text import counted
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    BUNDLED_CROPS,
    CALIBRATION_FILE,
    FORMAT,
    RUN_FILE,
    SPLIT_FILE,
    Checkpoint,
    Quantised,
    RunConfig,
    read_run_config,
    save_tensors,
    write_run_config,
)
from qlvit_edge.training.holdout import hold_out, with_source
from qlvit_edge.training.listener import Listener
from qlvit_edge.training.places import require_trained_images, with_places_of
from qlvit_edge.training.session import finish
from qlvit_edge.training.start import started_from, unseen, with_what_it_saw

JUDGED: Final = 1000
"""Held-out images that are shown varied too, and training images in their place without any."""


def quantised_run(
    start: Checkpoint,
    calibration: Calibration,
    split: Split,
    *,
    data: Path,
    form: Form,
    epochs: int,
    batch: int,
    rate: float,
    images_per_epoch: int | None,
    draw: int = 0,
) -> RunConfig:
    """Return what a fine-tuning of a run is; all that is not named here is as in that run.

    Args:
        start: the float run.
        calibration: its calibration.
        split: which images train and test.
        data: their folder.
        form: of the integer softmax.
        epochs: to be trained.
        batch: images in one step.
        rate: peak learning rate.
        images_per_epoch: None: as many as there are.
        draw: number of the order and the changes of the images; which are held out is the run's.

    Raises:
        CheckpointError: the run was itself trained as integers.
        ConversionError: its network has no integer lowering.
    """
    if start.run.quantised is not None:
        raise CheckpointError(
            start.folder, "was trained as integers already", "name the float run it came from"
        )
    require_lowerable(start.network)
    settings = start.run.training.model_copy(
        update={
            "epochs": epochs,
            "batch": batch,
            "peak_rate": rate,
            "weight_decay": 0.0,
            "settle": 0.0,
            "earlier_cycles": (),
            "patience": 0,
            "images_per_epoch": images_per_epoch,
            "mixup": 0.0,
            "label_smoothing": 0.0,
            "precision": "float32",
            "compiled": False,
            "channels_last": False,
        }
    )
    content = calibration.model_dump_json()
    return start.run.model_copy(
        update={
            "training": settings,
            "data": str(data.resolve()),
            "split_fingerprint": split.fingerprint,
            "started_from": started_from(start),
            "quantised": Quantised(
                form=form,
                observer=calibration.observer,
                calibration_sha256=sha256(content.encode()),
                draw=draw,
            ),
        }
    )


def run_quantised(
    run: RunConfig,
    out: Path,
    start: Checkpoint,
    calibration: Calibration,
    folder: ImageFolder,
    split: Split,
    device: torch.device,
    resume: bool,
    listener: Listener,
) -> Integers:
    """Fine-tune a run as integers and write everything the run folder holds.

    Args:
        run: of `quantised_run`.
        out: the run folder, which exists.
        start: the float run.
        calibration: its calibration.
        folder: the images.
        split: which of them train and test.
        device: where the float twin is computed.
        resume: continue what the folder holds.
        listener: told how far it is.

    Raises:
        DataError: the split does not fit the folder, or an image does not decode, or ``start``
            was trained on the whole test side.
        CheckpointError: other classes than the run's; ``resume`` does not fit; the loss is no
            longer a number.
    """
    if list(folder.classes) != list(run.classes):
        raise CheckpointError(
            start.folder,
            f"has the classes {', '.join(run.classes)}, {folder.root} others",
            "fine-tune on images of the same classes",
        )
    require_fit(split, folder)
    training, held = _sides(run, folder, split)
    if resume and (out / RUN_FILE).exists():
        _require_same(run, out, [*training, *held])
    judged = held or training[:: max(1, len(training) // JUDGED)]
    if not held:
        images = counted(len(judged), "training image")
        listener.noted(f"the run held no images out: epochs are judged by {images}")
    test = _unseen_test(start, select(folder, split.test), listener)
    kinds: list[str] = []
    size, varied = run.network.input_size, of_every_class(judged, JUDGED)
    with listener.preparing(len(training) + len(varied) + len(test)) as advance:
        cached = cache_images(training, size, advance, kinds)
        of_judge = cache_images(varied, size, advance, kinds)
        check_images(test, advance, kinds)
    if kinds:
        listener.noted(note_on(Counter(kinds), run.network.channels))
    _write_folder(run, out, start, split, [*training, *held])
    form = present(run.quantised, "the settings of the fine-tuning").form
    ranges = TrainedRanges(calibration.ranges(), calibration.anchors)
    student = Student(copy.deepcopy(start.network), ranges, form).to(device)

    def keep(best: Student, epoch: int) -> None:
        _write_best(out, best, epoch, calibration)

    listener.begun(run.training.epochs, run.training.images_per_epoch or len(cached))
    state = fine_tune(
        *(run, out, student, cached, partial(Judge, run, judged, of_judge), resume),
        listener.batch_done,
        keep,
        listener.epoch_done,
    )
    sourced = [with_source(image, split) for image in test]
    finish(run, out, state.history[1:], folder, sourced, held, device)
    found = compare(run, out, start, calibration, test, state.history, device)
    summary = read_json(out / "metrics.json")
    if not isinstance(summary, dict):
        raise CheckpointError(out / "metrics.json", "is no JSON object", "fine-tune again")
    write_json(out / "metrics.json", {**summary, "integers": asdict(found)})
    return found


def _require_same(run: RunConfig, out: Path, side: Sequence[LabelledImage]) -> None:
    """Refuse to go on with a folder of other options, or with other images at another place.

    Raises:
        CheckpointError: the options differ.
        DataError: an image of the training side does.
    """
    recorded, listed = read_run_config(out), read_training_images(out)
    if with_places_of(recorded, run) != run:
        raise CheckpointError(
            out, "holds a run with other options", "resume with the options of that run"
        )
    if listed is not None and recorded.data != run.data:
        require_trained_images(side, listed, Path(run.data))


def _write_folder(
    run: RunConfig, out: Path, start: Checkpoint, split: Split, side: Sequence[LabelledImage]
) -> None:
    """Write what the run folder holds besides what training leaves.

    Args:
        run: the fine-tuning.
        out: its run folder.
        start: the float run.
        split: which images train and test.
        side: the whole training side.
    """
    write_text(out / SPLIT_FILE, split.model_dump_json(indent=1) + "\n")
    write_run_config(out, run)
    golden = out / run.golden_images
    if run.golden_images != BUNDLED_CROPS and not golden.exists():
        shutil.copytree(start.folder / run.golden_images, golden)
    listed = list_training_images(side, split.fingerprint, lambda: None)
    write_training_images(out, with_what_it_saw(listed, start))


def _sides(
    run: RunConfig, folder: ImageFolder, split: Split
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return the images trained on, and those that the float run held out."""
    every, training = select(folder, split.train), run.training
    held: list[LabelledImage] = []
    if training.validation and training.hold_out_draw is not None:
        every, held = hold_out(every, split, training.validation, training.seed)
    return [with_source(image, split) for image in every], held


def _unseen_test(
    start: Checkpoint, test: Sequence[LabelledImage], listener: Listener
) -> list[LabelledImage]:
    left = unseen(test, start, lambda: None)
    if left is None:
        listener.noted(f"{start.folder.name} lists no training images")
        return list(test)
    if len(left) < len(test):
        known = counted(len(test) - len(left), "test image")
        listener.noted(f"{known} left out: {start.folder.name} was trained on them")
    return left


def _write_best(out: Path, best: Student, epoch: int, calibration: Calibration) -> None:
    """Write the weights, and the ranges that belong to them: both or, on a full disk, neither."""
    weights = dict(best.network.state_dict())
    tensors = {
        name: tensor.model_copy(update={"sqnr_db": None})
        for name, tensor in calibration.tensors.items()
    }
    with atomic_path(out / BEST_FILE) as of_weights, atomic_path(out / CALIBRATION_FILE) as ranges:
        save_tensors(of_weights, weights, {"format": FORMAT, "epoch": epoch})
        found = calibration.model_copy(
            update={
                "format": TRAINED_FORMAT,
                "checkpoint_sha256": sha256(of_weights.read_bytes()),
                "tensors": tensors,
                "weights": {},
                "agreement": None,
                "trained": best.ranges.table(),
            }
        )
        ranges.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
