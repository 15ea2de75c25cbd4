"""Measure a model file on this device: accuracy, golden pairs, latency, memory.

The model sees what it will see in use: images decoded and resized by the shared
preprocessing, whole and as the crops that the cell finder makes of them. Reports are drawn
elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.errors import DataError, DeviceError, ModelFileError
from qlvit_edge.evaluation import copies, metrics
from qlvit_edge.evaluation.answers import Answer, Answers, Asker, View, model_picture
from qlvit_edge.evaluation.guarding import Judged, measure_guarding
from qlvit_edge.evaluation.image_set import ImageSet
from qlvit_edge.evaluation.measured_model import Model
from qlvit_edge.evaluation.quality import Acceptance, measure_quality
from qlvit_edge.evaluation.validation_report import (
    DataFacts,
    KernelFacts,
    Measurement,
    Memory,
    ModelFacts,
    ViewFacts,
)
from qlvit_edge.files import sha256
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.inference.delegates import Delegate
from qlvit_edge.inference.golden import GoldenReport, compare_golden
from qlvit_edge.inference.interpreter import Kernels, Runtime
from qlvit_edge.measuring.conditions import Watch
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.preprocess import decode_noting


def validate(
    model: Model,
    images: ImageSet,
    *,
    kernels: Kernels,
    runtime: Runtime,
    views: Sequence[View],
    accept_at: float | None,
    advance: Callable[[], None],
    allowance: Allowance | None = None,
    delegate: Delegate | None = None,
) -> tuple[Measurement, list[Answers]]:
    """Measure a model on labelled images.

    Args:
        model: from `open_model`.
        images: from `gather`.
        kernels: which kernels to run.
        runtime: which runtime to use.
        views: what to show of every image; the first is judged.
        accept_at: smallest probability of an accepted answer; None: that of the file's guard, or
            `ACCEPT_AT` without one.
        advance: called after every image.
        allowance: what the file may ask for; the default one where None.
        delegate: library that runs a chain's compiled segments; None: all runs on the CPU.

    Returns:
        What was measured, and the answers of every view in the order of the images.

    Raises:
        DataError: no image of a class that the model knows decodes.
        ModelFileError: the file asks for more than it may, or the runtime refuses or crashes on it.
        DeviceError: the runtime or the delegate's library is not installed, or it or the
            accelerator was lost during an inference.
    """
    watch, machine = Watch(), describe_machine()
    with open_isolated(
        model.content,
        kernels=kernels,
        runtime=runtime,
        delegate=delegate,
        subject=model.path,
        allowance=allowance,
    ) as interpreter:
        asker = Asker(model, interpreter, accept_at)
        golden = compare_golden(model.metadata, interpreter)
        asked = _ask(asker, images, views, advance)
        memory = Memory(peak=interpreter.peak_bytes(), before_model=interpreter.remote.bare_bytes)
    conditions = watch.end()
    reference, no_reference = _on_reference_kernels(model, golden, kernels, runtime, allowance)
    found = asked.answers
    measured = Measurement(
        model=_about(model),
        data=_about_images(images, asked),
        views=tuple(_judge(answers, images, asker) for answers in found),
        statement=asker.statement(found[0].known),
        golden=golden,
        latency_ms=_latency([answer for answers in found for answer in answers.known]),
        memory_bytes=memory,
        kernels=KernelFacts(
            asked=kernels.value,
            runtime=runtime,
            used=interpreter.kernels_used,
            xnnpack_missing=interpreter.xnnpack_missing,
            arithmetic=str(interpreter.arithmetic),
            proved=interpreter.arithmetic.proved,
            delegate=None if delegate is None else str(delegate),
        ),
        machine=machine,
        conditions=conditions,
        golden_reference=reference,
        no_reference=no_reference,
    )
    return measured, found


def _on_reference_kernels(
    model: Model,
    golden: GoldenReport,
    kernels: Kernels,
    runtime: Runtime,
    allowance: Allowance | None,
) -> tuple[GoldenReport | None, str | None]:
    """Compare golden pairs on the reference kernels too, or say why that cannot be.

    Where the reference kernels ran already, or no golden pair can be compared on any kernels,
    there is nothing to examine besides.
    """
    if kernels is Kernels.REFERENCE or golden.equal is None:
        return None, None
    try:
        with open_isolated(
            model.content,
            kernels=Kernels.REFERENCE,
            runtime=runtime,
            subject=model.path,
            allowance=allowance,
        ) as interpreter:
            return compare_golden(model.metadata, interpreter), None
    except (DeviceError, ModelFileError) as error:
        return None, str(error).removeprefix(f"{model.path}: ")


@dataclass
class _Asked:
    """What came of showing the images.

    Attributes:
        answers: of every view.
        kinds: what was unusual about images, a word each.
        damaged: images that cannot be read, with the reason.
        seen: images that the model was trained on.
        thumbnails: of the images of known classes that can be read.
    """

    answers: list[Answers]
    kinds: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    thumbnails: list[NDArray[np.uint8]] = field(default_factory=list)


def _ask(
    asker: Asker,
    images: ImageSet,
    views: Sequence[View],
    advance: Callable[[], None],
) -> _Asked:
    """Show every image in every view."""
    asked = _Asked([Answers(view) for view in views])
    shown: list[tuple[LabelledImage, str | None]] = [(image, None) for image in images.known]
    shown += [(entry.image, entry.folder) for entry in images.unknown]
    for image, folder in shown:
        try:
            pixels = decode_noting(image.path, asked.kinds)
        except DataError as error:
            asked.damaged[image.relative] = str(error).removeprefix(f"{image.path}: ")
        else:
            if folder is None and images.seen.has(image, pixels):
                asked.seen.append(image.relative)
            if folder is None:
                asked.thumbnails.append(copies.thumbnail(pixels))
            for answers in asked.answers:
                picture = model_picture(pixels, answers.view)
                answer = asker.answer(image, picture, len(images.match.labels))
                if folder is None:
                    answers.known.append(answer)
                else:
                    answers.unknown.setdefault(folder, []).append(answer)
        advance()
    if not asked.answers[0].known:
        raise DataError(
            images.folder.root,
            f"no image can be read ({next(iter(asked.damaged.values()))})",
            "give images that decode: see `qlvit-edge data check`",
        )
    return asked


def _judge(answers: Answers, images: ImageSet, asker: Asker) -> ViewFacts:
    """Compare one view's answers with the true classes."""
    labels = images.match.labels
    known, groups = answers.known, images.groups
    truth = np.array([answer.image.label for answer in known], np.int64)
    none = len(labels)
    predicted = [none if answer.predicted is None else answer.predicted for answer in known]
    found = np.array(predicted, np.int64) != none
    right = truth == np.array(predicted, np.int64)
    chances = np.array([answer.probability for answer in known])
    bins, error = metrics.reliability(chances[found], right[found])
    accepted = np.array([answer.verdict == "accepted" for answer in known], bool)
    strangers = [answer for group in answers.unknown.values() for answer in group]
    taken = [answer for answer in strangers if answer.verdict == "accepted"]
    return ViewFacts(
        name=answers.view.key,
        input=answers.view.value,
        images=len(known),
        without_cell=int((~found).sum()),
        quality=measure_quality(
            labels,
            truth,
            np.array(predicted, np.int64),
            np.array([answer.probabilities for answer in known]),
            [groups.get(answer.image.relative, answer.image.relative) for answer in known],
            grouped=bool(groups),
            domains=[answer.image.domain for answer in known],
        ),
        acceptance=Acceptance(
            accept_at=asker.accept_at,
            guarded=asker.guarded,
            known=len(known),
            known_accepted=int(accepted.sum()),
            known_accepted_right=int((accepted & right).sum()),
            unknown=len(strangers),
            unknown_accepted=len(taken),
            unknown_accepted_as=dict(
                sorted(
                    Counter(labels[a.predicted] for a in taken if a.predicted is not None).items()
                )
            ),
            unknown_by_folder={
                folder: (
                    len(group),
                    sum(answer.verdict == "accepted" for answer in group),
                )
                for folder, group in answers.unknown.items()
            },
        ),
        reliability=bins,
        calibration_error=error,
        guarding=measure_guarding(
            [
                Judged(answer.verdict, answer.trust, bool(was_right), answer.reason)
                for answer, was_right in zip(known, right, strict=True)
            ],
            [Judged(one.verdict, one.trust, False, one.reason) for one in strangers],
            guard=asker.guarded,
        ),
    )


def _about(model: Model) -> ModelFacts:
    metadata = model.metadata
    return ModelFacts(
        file=str(model.path),
        sha256=sha256(model.content),
        bytes=len(model.content),
        integer_only=model.audit.integer_only,
        verdict=model.audit.verdict,
        name=None if metadata is None else metadata.name,
        unknown_cells=None if metadata is None else metadata.unknown_cells,
        intended_use=None if metadata is None else metadata.intended_use,
        training_data=None if metadata is None else metadata.training_data,
        split_fingerprint=None if metadata is None else metadata.split_fingerprint,
    )


def _about_images(images: ImageSet, asked: _Asked) -> DataFacts:
    labels, judged = images.match.labels, asked.answers[0]
    return DataFacts(
        folder=str(images.folder.root),
        images=len(judged.known),
        classes={
            name: sum(answer.image.label == label for answer in judged.known)
            for label, name in enumerate(labels)
        },
        input=judged.view.value,
        without_cell=sum(answer.predicted is None for answer in judged.known),
        unusual=dict(sorted(Counter(asked.kinds).items())),
        damaged=asked.damaged,
        unknown={folder: len(group) for folder, group in judged.unknown.items()},
        split_fingerprint=None if images.split is None else images.split.fingerprint,
        split_of_training=images.split_of_training,
        whole_test_side=images.split is not None and not asked.damaged,
        training_images=len(asked.seen) if images.seen.known else None,
        suspected_copies=_suspected(images, asked),
    )


def _suspected(images: ImageSet, asked: _Asked) -> str | None:
    """Look for copies where nobody said what the images' sources are."""
    if images.groups:
        return None
    known = [answer.image for answer in asked.answers[0].known]
    return copies.suspected_copies(images.folder, known, asked.thumbnails)


def _latency(answers: Sequence[Answer]) -> dict[str, float] | None:
    times = [1000 * answer.seconds for answer in answers if not math.isnan(answer.seconds)]
    if not times:
        return None
    return {"mean": float(np.mean(times)), **metrics.percentiles(times)}
