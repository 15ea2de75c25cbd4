"""What a quantised fine-tuning has reached: floats, calibrated and trained integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from qlvit_edge.calibration.file import Calibration, calibration_of
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.presence import present
from qlvit_edge.quantised.answers import integer_answers
from qlvit_edge.quantised.ranges import TrainedRanges
from qlvit_edge.quantised.state import best_row
from qlvit_edge.quantised.student import Student
from qlvit_edge.training.checkpoint import Checkpoint, RunConfig, load_checkpoint
from qlvit_edge.training.prediction import predict
from qlvit_edge.training.state import Row


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
        divergence_before: of the calibrated integers from the float network on the images that
            epochs are chosen by, see `Judge`.
        divergence: of what is handed out.
    """

    test_images: int
    floats: float
    calibrated: float
    quantised: float
    changed_before: int
    changed: int
    best_epoch: int
    epochs: int
    divergence_before: float
    divergence: float


def compare(
    run: RunConfig,
    out: Path,
    start: Checkpoint,
    calibration: Calibration,
    test: Sequence[LabelledImage],
    history: Sequence[Row],
    device: torch.device,
) -> Integers:
    """Answer the test images as floats, as calibrated and as trained integers.

    Args:
        run: the fine-tuning.
        out: its run folder.
        start: the float run.
        calibration: of that run.
        test: the test images.
        history: of the fine-tuning, the start first.
        device: where the float run answers.
    """
    form = present(run.quantised, "the settings of the fine-tuning").form
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
        divergence_before=history[0]["divergence"],
        divergence=history[best]["divergence"],
    )


def _handed_out(out: Path, form: Form) -> Student:
    """Return what the run folder holds."""
    checkpoint = load_checkpoint(out)
    found = calibration_of(checkpoint)
    return Student(checkpoint.network, TrainedRanges(found.ranges(), found.anchors), form)
