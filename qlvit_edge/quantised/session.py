"""One quantised fine-tuning: from a calibrated run folder to another one, with its own ranges."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from qlvit_edge.calibration.file import TRAINED_FORMAT, Calibration, calibration_of
from qlvit_edge.converters.lower import require_lowerable
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.loader import cache_images, check_images
from qlvit_edge.data.split import Split, require_fit, select
from qlvit_edge.data.training_images import list_training_images, write_training_images
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import sha256, write_json, write_text
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.preprocess import note_on
from qlvit_edge.quantised.answers import integer_answers
from qlvit_edge.quantised.loop import fine_tune
from qlvit_edge.quantised.ranges import TrainedRanges
from qlvit_edge.quantised.state import best_row
from qlvit_edge.quantised.student import Student
from qlvit_edge.reading import read_json
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    CALIBRATION_FILE,
    FORMAT,
    RUN_FILE,
    SPLIT_FILE,
    Checkpoint,
    Quantised,
    RunConfig,
    load_checkpoint,
    read_run_config,
    save_tensors,
    write_run_config,
)
from qlvit_edge.training.holdout import hold_out, with_source
from qlvit_edge.training.listener import Listener
from qlvit_edge.training.places import with_places_of
from qlvit_edge.training.prediction import predict
from qlvit_edge.training.session import finish
from qlvit_edge.training.start import started_from, unseen, with_what_it_saw
from qlvit_edge.training.state import Row

JUDGED: Final = 1000
"""Training images that an epoch is chosen by where the run held none out."""


@dataclass(frozen=True)
class Integers:
    """What a fine-tuning has reached on the test images, whole.

    Attributes:
        test_images: how many.
        floats: accuracy of the float run.
        calibrated: of its integer graph as it was calibrated.
        quantised: of the integer graph that is handed out.
        changed_before: images that calibration alone gets wrong and floats do not, less those the
            other way round.
        changed: the same of what is handed out.
        best_epoch: which that is; 0 is the run as it was calibrated.
        epochs: trained.
        validation_before: accuracy of the calibrated integers on the images it is chosen by.
        validation: of what is handed out.
    """

    test_images: int
    floats: float
    calibrated: float
    quantised: float
    changed_before: int
    changed: int
    best_epoch: int
    epochs: int
    validation_before: float
    validation: float


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
    if resume and (out / RUN_FILE).exists() and with_places_of(read_run_config(out), run) != run:
        raise CheckpointError(
            out, "holds a run with other options", "resume with the options of that run"
        )
    require_fit(split, folder)
    training, judged = _sides(run, folder, split, listener)
    test = _unseen_test(start, select(folder, split.test), listener)
    kinds: list[str] = []
    with listener.preparing(len(training) + len(test)) as advance:
        cached = cache_images(training, run.network.input_size, advance, kinds)
        check_images(test, advance, kinds)
    if kinds:
        listener.noted(note_on(Counter(kinds)))
    write_text(out / SPLIT_FILE, split.model_dump_json(indent=1) + "\n")
    write_run_config(out, run)
    listed = list_training_images([*training, *judged], split.fingerprint, lambda: None)
    write_training_images(out, with_what_it_saw(listed, start))
    assert run.quantised is not None
    ranges = TrainedRanges(calibration.ranges(), calibration.anchors)
    student = Student(copy.deepcopy(start.network), ranges, run.quantised.form).to(device)

    def keep(best: Student, epoch: int) -> None:
        _write_best(out, best, epoch, calibration)

    listener.begun(run.training.epochs, run.training.images_per_epoch or len(cached))
    state = fine_tune(
        *(run, out, student, cached, judged, resume),
        listener.batch_done,
        keep,
        listener.epoch_done,
    )
    sourced = [with_source(image, split) for image in test]
    finish(run, out, state.history[1:], folder, sourced, judged, device)
    found = _compare(run, out, start, calibration, test, state.history, device)
    summary = read_json(out / "metrics.json")
    assert isinstance(summary, dict)
    write_json(out / "metrics.json", {**summary, "integers": asdict(found)})
    return found


def _sides(
    run: RunConfig, folder: ImageFolder, split: Split, listener: Listener
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return the images trained on, and those an epoch is chosen by: what the run held out."""
    every = select(folder, split.train)
    training = run.training
    held: list[LabelledImage] = []
    if training.validation and training.hold_out_draw is not None:
        every, held = hold_out(every, split, training.validation, training.seed)
    every = [with_source(image, split) for image in every]
    if not held:
        held = every[:: max(1, len(every) // JUDGED)]
        listener.noted(
            f"the run held no images out: epochs are judged by {len(held)} of its training images"
        )
    return every, held


def _unseen_test(
    start: Checkpoint, test: Sequence[LabelledImage], listener: Listener
) -> list[LabelledImage]:
    left = unseen(test, start, lambda: None)
    if left is None:
        listener.noted(f"{start.folder.name} lists no training images")
        return list(test)
    if len(left) < len(test):
        listener.noted(f"{len(test) - len(left)} test images left out: it was trained on them")
    return left


def _write_best(out: Path, best: Student, epoch: int, calibration: Calibration) -> None:
    """Write the weights, and the ranges that belong to them."""
    weights = dict(best.network.state_dict())
    save_tensors(out / BEST_FILE, weights, {"format": FORMAT, "epoch": epoch})
    table = best.ranges.table()
    found = calibration.model_copy(
        update={
            "format": TRAINED_FORMAT,
            "checkpoint_sha256": sha256((out / BEST_FILE).read_bytes()),
            "tensors": {
                name: tensor.model_copy(update={"sqnr_db": None})
                for name, tensor in calibration.tensors.items()
            },
            "weights": {},
            "agreement": None,
            "trained": table,
        }
    )
    write_text(out / CALIBRATION_FILE, found.model_dump_json(indent=1) + "\n")


def _compare(
    run: RunConfig,
    out: Path,
    start: Checkpoint,
    calibration: Calibration,
    test: Sequence[LabelledImage],
    history: Sequence[Row],
    device: torch.device,
) -> Integers:
    """Answer the test images as floats, as calibrated and as trained integers."""
    assert run.quantised is not None
    form = run.quantised.form
    labels, logits = predict(start.network.to(device).eval(), test, run.network, device)
    floats = logits.argmax(1) == labels
    start.network.cpu()
    before = Student(start.network, TrainedRanges(calibration.ranges(), calibration.anchors), form)
    rights = []
    for one in (before, _handed_out(out, form)):
        answers = integer_answers(one.integer_graph(), test, run.network)
        rights.append(answers.logits.argmax(1) == labels)
    best = best_row(history)
    return Integers(
        test_images=len(test),
        floats=float(floats.mean()),
        calibrated=float(rights[0].mean()),
        quantised=float(rights[1].mean()),
        changed_before=int(floats.sum()) - int(rights[0].sum()),
        changed=int(floats.sum()) - int(rights[1].sum()),
        best_epoch=best,
        epochs=len(history) - 1,
        validation_before=history[0]["validation_accuracy"],
        validation=history[best]["validation_accuracy"],
    )


def _handed_out(out: Path, form: Form) -> Student:
    """Return what the run folder holds."""
    checkpoint = load_checkpoint(out)
    found = calibration_of(checkpoint)
    return Student(checkpoint.network, TrainedRanges(found.ranges(), found.anchors), form)
