"""The guard of a run: fitted on what its integer network says, written beside its calibration.

`qlvit-edge calibrate` writes `guard.json`; `convert` puts it into the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.guard_answers import Answer, IntegerNetwork
from qlvit_edge.calibration.guard_fit import Layout, lay_out
from qlvit_edge.calibration.guard_limits import Judged, set_limits
from qlvit_edge.calibration.quality import Quality, find_quality, views_of
from qlvit_edge.data.labelled import NO_CLASS, LabelledImage
from qlvit_edge.errors import CalibrationError
from qlvit_edge.evaluation.metrics import expected_calibration_error
from qlvit_edge.evaluation.temperature import best_temperature
from qlvit_edge.fields.appearance import APPEARANCE
from qlvit_edge.files import sha256, write_text
from qlvit_edge.guard.judge import Judge
from qlvit_edge.modelfile.guard import (
    GUARD_FILE,
    Bounds,
    Evidence,
    Group,
    Guard,
    GuardFile,
    Measure,
    load_guard,
    powers,
)
from qlvit_edge.text import counted
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, Checkpoint

REJECTED = 0.05
"""Share of held-out known cells that a guard may reject, where nothing else is asked for."""

LEAST_HELD_OUT = 40
"""Held-out images of known class below which no limit could be set at a rate of a few percent."""

VIEWS = 2
"""Answers per image."""

_NEIGHBOURS = 5
_FAR = 1 << 52


def make_guard(
    checkpoint: Checkpoint,
    calibration: Calibration,
    training: Sequence[LabelledImage],
    held_out: Sequence[LabelledImage],
    advance: Callable[[], None],
    *,
    data: str,
    rate: float = REJECTED,
) -> Guard:
    """Fit a guard to a checkpoint's integer network.

    Args:
        checkpoint: the trained network.
        calibration: its calibration.
        training: images that it was trained with, for where known cells lie.
        held_out: images of sources that it was not trained with, and that nothing is scored on.
        advance: called once per image and once per way of degrading them (`DEGRADATIONS`), for a
            progress bar.
        data: what these are from, in words.
        rate: share of known cells that may be rejected.

    Raises:
        CalibrationError: too few images are held out.
        DataError: an image does not decode.
    """
    if finding := too_few(held_out):
        raise CalibrationError(checkpoint.folder, finding, "hold out more images")
    network = IntegerNetwork(checkpoint, calibration)
    known = network.answers(training, advance)
    unseen = network.answers(held_out, advance)
    labelled = [answer for answer in unseen if answer.label != NO_CLASS]
    run = checkpoint.run
    views = views_of(held_out, run.network.input_size, run.network.channels)
    quality = find_quality(network.label_of, views, advance)
    return fit_guard(
        network, known, labelled, quality, data=data, rate=rate, split=run.split_fingerprint
    )


def fit_guard(
    network: IntegerNetwork,
    known: Sequence[Answer],
    unseen: Sequence[Answer],
    quality: Quality,
    *,
    data: str,
    rate: float,
    split: str | None,
) -> Guard:
    """Fit a guard to answers; see `make_guard`.

    Args:
        network: what answered.
        known: answers on images of training.
        unseen: answers on held-out images, each of a known class.
        quality: from when on an image is not fit to be judged.
        data: what the images are from, in words.
        rate: share of known cells that may be rejected.
        split: fingerprint of the split.
    """
    layout = lay_out(known)
    labels = np.array([answer.label for answer in unseen])
    logits = np.stack([answer.logits for answer in unseen]).astype(np.float64) * network.logit_scale
    temperature = network.temperature_near(best_temperature(logits, labels))
    measures = quality.measures
    open_guard = _assemble(
        network, layout, temperature, measures, _everything(layout, measures), 0.0, _NOTHING
    )
    judge = Judge(open_guard)
    groups, probability = set_limits(
        judge_all(judge, unseen), judge_all(judge, known), layout.groups, measures, rate
    )
    limited = _assemble(network, layout, temperature, measures, groups, probability, _NOTHING)
    evidence = _evidence(limited, known, unseen, data=data, rate=rate, split=split)
    evidence = evidence.model_copy(update={"degraded": quality.degraded})
    return limited.model_copy(update={"evidence": evidence})


def judge_all(judge: Judge, answers: Sequence[Answer]) -> list[Judged]:
    """Return what a guard finds of every answer."""
    found = []
    for answer in answers:
        judgement = judge.judge(answer.logits, answer.features, answer.measures)
        found.append(Judged(answer, judgement.distances, float(judgement.chances.max())))
    return found


def too_few(held_out: Sequence[LabelledImage]) -> str:
    """Say that held-out images are too few to set limits; "" where they are enough."""
    count = sum(image.label != NO_CLASS for image in held_out)
    if count >= LEAST_HELD_OUT:
        return ""
    return f"{counted(count, 'image')} held out from training, limits need {LEAST_HELD_OUT}"


def guard_of(checkpoint: Checkpoint) -> Guard | None:
    """Return a run's guard; None where it has none.

    Raises:
        CalibrationError: it is damaged or belongs to other weights or another calibration.
    """
    calibration = checkpoint.folder / CALIBRATION_FILE
    return load_guard(
        checkpoint.folder / GUARD_FILE, checkpoint.sha256, sha256(calibration.read_bytes())
    )


def remove_guard(checkpoint: Checkpoint) -> None:
    """Delete a run's guard, which belongs to what was calibrated before."""
    (checkpoint.folder / GUARD_FILE).unlink(missing_ok=True)


def write_guard(checkpoint: Checkpoint, guard: Guard) -> Path:
    """Write a run's `guard.json`; returns its path."""
    path = checkpoint.folder / GUARD_FILE
    content = GuardFile(
        checkpoint_sha256=checkpoint.sha256,
        calibration_sha256=sha256((checkpoint.folder / CALIBRATION_FILE).read_bytes()),
        guard=guard,
    )
    write_text(path, content.model_dump_json(indent=1) + "\n")
    return path


def _everything(layout: Layout, measures: Sequence[Measure]) -> list[Group]:
    """Limits that reject nothing."""
    huge = 1e300
    bounds = [Bounds(low=-huge, high=huge) for _ in measures]
    return [
        Group(
            domain=domain, view=view, image=_FAR, own=_FAR, nearest=_FAR, neighbours=_FAR,
            run_image=_FAR, run_nearest=_FAR, bounds=bounds,
        )
        for domain, view in layout.groups
    ]  # fmt: skip


_NOTHING = Evidence(
    data="", cells={}, rate=0, rejected=0, accuracy=0, accuracy_accepted=0,
    calibration_error=0, calibration_error_after=0,
)  # fmt: skip


def _assemble(
    network: IntegerNetwork,
    layout: Layout,
    temperature: float,
    measures: Sequence[Measure],
    groups: Sequence[Group],
    probability: float,
    evidence: Evidence,
) -> Guard:
    return Guard.model_validate(
        {
            "appearance": list(APPEARANCE),
            "image": layout.image,
            "cell": layout.cell,
            "clusters": layout.clusters,
            "prototypes": layout.prototypes,
            "features": network.width,
            "feature_scale": network.feature_scale,
            "feature_zero_point": network.feature_zero_point,
            "logit_scale": network.logit_scale,
            "neighbours": min(_NEIGHBOURS, layout.prototypes.shape[0]),
            "temperature": temperature,
            "powers": powers(temperature, network.logit_scale),
            "probability": probability,
            "groups": list(groups),
            "measures": list(measures),
            "evidence": evidence,
        }
    )


def _evidence(
    guard: Guard,
    known: Sequence[Answer],
    unseen: Sequence[Answer],
    *,
    data: str,
    rate: float,
    split: str | None,
) -> Evidence:
    """Say how a guard was found, and what it does with the held-out cells."""
    judge = Judge(guard)
    judgements = [judge.judge(a.logits, a.features, a.measures) for a in unseen]
    accepted = np.array([judgement.verdict == "accepted" for judgement in judgements])
    right = np.array([answer.right for answer in unseen])
    domains = np.array([answer.domain for answer in unseen])
    plain = Judge(guard.model_copy(update={"powers": powers(1.0, guard.logit_scale)}))
    before = np.array([plain.chances(answer.logits).max() for answer in unseen])
    after = np.array([judgement.chances.max() for judgement in judgements])
    return Evidence(
        data=data,
        split_fingerprint=split,
        cells={"training": len(known) // VIEWS, "held out": len(unseen) // VIEWS},
        sources={
            "training": len({answer.source for answer in known}),
            "held out": len({answer.source for answer in unseen}),
        },
        rate=rate,
        rejected=float((~accepted).mean()),
        rejected_by_domain={
            domain or "all": float((~accepted)[domains == domain].mean())
            for domain in sorted(set(domains.tolist()))
        },
        accuracy=float(right.mean()),
        accuracy_accepted=float(right[accepted].mean()) if accepted.any() else 0.0,
        calibration_error=expected_calibration_error(before, right),
        calibration_error_after=expected_calibration_error(after, right),
    )
