"""The answers of a validation put down as predictions, for other machines to be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qlvit_edge.evaluation.answers import Answer, Answers
from qlvit_edge.evaluation.image_set import ImageSet
from qlvit_edge.evaluation.predictions import PredictedImage, Predictions, Shown
from qlvit_edge.evaluation.validation_report import Measurement
from qlvit_edge.files import sha256, sha256_of_file
from qlvit_edge.text import plain


def hash_files(images: ImageSet) -> dict[str, str]:
    """Return name → hash of the file's bytes, of those that can be read."""
    found = {}
    for image in [*images.known, *(entry.image for entry in images.unknown)]:
        try:
            found[image.relative] = sha256_of_file(image.path)
        except OSError:
            continue
    return found


def record(
    found: Measurement,
    answers: Sequence[Answers],
    labels: Sequence[str],
    hashes: Mapping[str, str],
    *,
    device: str,
    date: str,
) -> Predictions:
    """Put the answers of a validation down.

    Args:
        found: the measurement.
        answers: of every view, the judged one first.
        labels: class names, to which the answers' numbers point.
        hashes: from `hash_files`.
        device: name of this machine.
        date: ISO 8601 with the zone.
    """
    images: dict[str, dict[str, Shown | None]] = {}
    for own in answers:
        strangers = [answer for group in own.unknown.values() for answer in group]
        for answer in [*own.known, *strangers]:
            images.setdefault(answer.image.relative, {})[own.view.key] = _shown(answer, labels)
    return Predictions(
        model_sha256=found.model.sha256,
        arithmetic=found.golden.arithmetic if found.golden.must_be_equal else None,
        judged=found.views[0].name,
        device=plain(device),
        machine=found.machine.words,
        runtime=f"{found.kernels.used} of {found.kernels.runtime}",
        date=date,
        images=[
            PredictedImage(image=plain(name), file=hashes[name], views=views)
            for name, views in images.items()
            if name in hashes
        ],
    )


def _shown(answer: Answer, labels: Sequence[str]) -> Shown | None:
    if answer.predicted is None or answer.verdict is None:
        return None
    logits, *features = answer.outputs
    return Shown(
        input=answer.input_sha256,
        logits=logits.reshape(-1).tolist(),
        features=sha256(features[0].tobytes()) if features else None,
        answer=labels[answer.predicted],
        verdict=answer.verdict,
    )
