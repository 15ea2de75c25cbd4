"""The mistakes that a written file carries: its own answers to the run's test images, by source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.proof.equality import Outputs
from qlvit_edge.converters.proof_images import Sample
from qlvit_edge.data.labelled import NO_CLASS
from qlvit_edge.guard.judge import Judge, verdict_on
from qlvit_edge.inference.classifier import ACCEPT_AT, softmax
from qlvit_edge.modelfile.confusion import MOST_CLASSES, Confusion
from qlvit_edge.modelfile.guard import Guard


def held_out_confusion(
    sample: Sample,
    labels: NDArray[np.int64],
    sources: Sequence[str] | None,
    outputs: Outputs,
    views: NDArray[np.uint8],
    scale: float,
    guard: Guard | None,
) -> Confusion | None:
    """Count the answers of a file to held-out images, judged as a device judges them.

    Args:
        sample: what images they are.
        labels: (N,) int64, their classes.
        sources: of every image; None: nobody knows.
        outputs: of the file, on the default kernels: logits and features (N, ·) int8.
        views: (N, h, w, channels) uint8, what the file was shown.
        scale: real value of one step of a logit.
        guard: of the file; None where it has none.

    Returns:
        None where the images are not the run's own held-out ones: bundled crops, unlabelled
        cells, an image without a class; or where there are too many classes.
    """
    classes = outputs[0].reshape(len(labels), -1).shape[1]
    if not (sample.labelled and sample.shows_every_class) or (labels == NO_CLASS).any():
        return None
    if classes > MOST_CLASSES:
        return None
    judge = None if guard is None else Judge(guard)
    answers = []
    for raw, features, view in zip(outputs[0], outputs[1], views, strict=True):
        if judge is None:
            chances = softmax(scale * raw.reshape(-1).astype(np.float64))
            verdict, _ = verdict_on(float(chances.max()), ACCEPT_AT)
        else:
            verdict = judge.judge_input(raw, features, view).verdict
        answers.append(int(raw.argmax()) if verdict == "accepted" else classes)
    return Confusion.of(
        labels.tolist(),
        answers,
        sources,
        data=sample.words,
        accept_at=ACCEPT_AT if guard is None else guard.probability,
    )
