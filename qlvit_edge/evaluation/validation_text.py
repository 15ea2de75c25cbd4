"""The validation report in words: notes, what stands on top, and the lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qlvit_edge.evaluation.agreement import compare
from qlvit_edge.evaluation.answers import Answer, Answers
from qlvit_edge.evaluation.checks import checks_of
from qlvit_edge.evaluation.guarding import Guarding
from qlvit_edge.evaluation.image_set import ImageSet
from qlvit_edge.evaluation.measured_model import Model
from qlvit_edge.evaluation.predictions import Predictions
from qlvit_edge.evaluation.quality import MacroQuality, Quality
from qlvit_edge.evaluation.validation_report import (
    Measurement,
    Mistake,
    ModelFacts,
    ValidationReport,
)
from qlvit_edge.evaluation.verdict import Gates, accuracy_gate, judge, latency_gate
from qlvit_edge.preprocess import note_on
from qlvit_edge.text import RESEARCH_ONLY, counted

NO_GUARD = (
    "The file has no guard: an answer is accepted by its probability alone, whatever cell or "
    "microscope it is of."
)
ONE_SOURCE = (
    "All images are of one source: an interval from draws over sources says nothing here, since "
    "other sources may be quite different."
)


@dataclass(frozen=True)
class Request:
    """What the user asked for besides the measurement.

    Attributes:
        least_accuracy: 0 to 1.
        most_ms: latency budget in milliseconds.
        command: the command line.
    """

    least_accuracy: float | None = None
    most_ms: float | None = None
    command: str = ""


def compose(
    model: Model,
    images: ImageSet,
    found: Measurement,
    answers: Sequence[Answers],
    predictions: Predictions,
    recorded: Predictions | None,
    request: Request,
) -> ValidationReport:
    """Judge a measurement and say what has to be said about it.

    Args:
        model: the file.
        images: it was measured on.
        found: the measurement.
        answers: of every view, the judged one first.
        predictions: the same, put down.
        recorded: another machine's, to compare them with; None where there is nothing to.
        request: what the user asked for.
    """
    quality = found.quality
    gates = Gates(
        accuracy_gate(request.least_accuracy, quality.accuracy, quality.accuracy_interval_95),
        latency_gate(request.most_ms, found.latency_ms),
    )
    agreement = None if recorded is None else compare(recorded, predictions)
    checks = checks_of(found, gates, agreement, list(_reductions(images, found)))
    return ValidationReport(
        found=found,
        verdict=judge(_summary(found), checks),
        checks=checks,
        predictions=predictions,
        gates=gates,
        agreement=agreement,
        notes=tuple(_notes(model, images, found, gates)),
        mistakes=tuple(_mistakes(answers[0].known, images.match.labels)),
        date=predictions.date,
        command=request.command,
    )


def _summary(found: Measurement) -> str:
    low, high = found.quality.accuracy_interval_95
    return (
        f"{percent(found.quality.accuracy)} of {counted(found.data.images, 'image')} right (95 % "
        f"interval {percent(low, 1)} to {percent(high, 1)}{_too_narrow(found)})"
    )


def _too_narrow(found: Measurement) -> str:
    """What belongs beside an interval that may be too narrow."""
    return "" if found.data.suspected_copies is None else ", too narrow if images are copies"


def _reductions(images: ImageSet, found: Measurement) -> Iterator[str]:
    """Say, in parts of a sentence, why the images prove less than a whole test side."""
    seen, count = found.data.training_images, found.data.images
    if images.bundled:
        yield f"only the {count} bundled crops were measured"
    elif images.split is None and seen == 0:
        yield (
            "every image of the folder was measured (no --split); none is a training image, by "
            "content"
        )
    elif images.split is None:
        maybe = "" if seen else ", and the model may have been trained on some of them"
        yield f"every image of the folder was measured (no --split){maybe}"
    elif images.split_of_training is None:
        yield "the file does not say which split it was trained with"
    elif not images.split_of_training:
        yield (
            "it is another split than the model was trained with, whose test images may have "
            "been training images"
        )
    if seen:
        verb = "is a training image" if seen == 1 else "are training images"
        yield f"{seen} of the {count} images {verb}, by content"
    if images.match.missing:
        yield f"there is no image of {', '.join(images.match.missing)}"


def _notes(model: Model, images: ImageSet, found: Measurement, gates: Gates) -> Iterator[str]:
    yield from images.match.notes
    if not model.audit.passed:
        yield _sentence(model.audit.verdict)
    if model.metadata is None:
        yield (
            "The file has no metadata of qlvit-edge: class folders in alphabetical order (or the "
            "numbers of a class map) stand for its outputs, and its input gets pixels of 0 to "
            "255."
        )
    if model.gives_probabilities:
        yield "The file ends in a softmax: its outputs count as probabilities as they are."
    if gates.accuracy is not None and gates.accuracy.within_interval:
        yield (
            f"The gate of {percent(gates.accuracy.least)} lies within the 95 % interval: other "
            "images of the same kind could have decided the other way."
        )
    if found.data.suspected_copies is not None:
        yield (
            f"Copies are suspected: {found.data.suspected_copies}. Intervals count images as "
            "independent and are then too narrow: say which belong together with --groups or "
            "--groups-from-name."
        )
    if found.quality.sources == 1 and found.data.images > 1:
        yield ONE_SOURCE
    for name, finding in found.data.damaged.items():
        yield f"Left out: {name} ({finding})."
    if found.statement is None:
        yield NO_GUARD
    elif found.statement.warning is not None:
        yield _sentence(found.statement.warning)
    if found.kernels.xnnpack_missing:
        yield "XNNPACK runs none of the operators: inference is slower than this device allows."
    if found.data.unusual:
        yield _sentence(note_on(found.data.unusual, model.channels).removeprefix("note: "))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def unknown_cells(model: ModelFacts) -> str:
    """Say in a sentence which cells the model was never shown."""
    if model.unknown_cells is None:
        return "The file does not say which cells the model does not know."
    if not model.unknown_cells:
        return "The file names no cells that the model does not know."
    return (
        f"The model does not know {', '.join(model.unknown_cells)}: "
        "it puts them into one of its classes."
    )


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction as a percentage."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def mebibytes(count: int | None) -> str:
    """Return a number of bytes in MiB."""
    return "not shown by this system" if count is None else f"{count / 2**20:.1f} MiB"


def evidence(found: Measurement) -> list[tuple[str, str]]:
    """Return what a reader must know before believing the accuracy: name and finding."""
    data, quality = found.data, found.quality
    low, high = quality.accuracy_interval_95
    same = {
        True: "yes, the fingerprint matches the model's",
        False: "no, the model was trained with another split",
        None: "not known" if data.split_fingerprint else "no split was given",
    }[data.split_of_training]
    entries = [
        ("images", f"{data.images} of the model's classes, {data.input}"),
        (
            "95 % interval of the accuracy",
            f"{percent(low, 1)} to {percent(high, 1)}, from 1000 draws over "
            f"{quality.interval_drawn_over}{_too_narrow(found)}",
        ),
        ("split of training", same),
        ("whole test side", "yes" if data.whole_test_side else "no"),
        ("training images among them", _seen_words(data.training_images)),
        ("golden pairs", golden_words(found)),
    ]
    if data.unknown:
        listed = ", ".join(f"{count} {name}" for name, count in data.unknown.items())
        entries.insert(1, ("unknown to the model", f"{listed}: not in the accuracy"))
    return entries


def _seen_words(count: int | None) -> str:
    if count is None:
        return "not known: no list of them lies beside the model, and no split was given"
    return "none, by content" if count == 0 else f"{count}, by content"


def golden_words(found: Measurement) -> str:
    """Say whether the golden pairs passed, and by what had to hold on the kernels that ran."""
    outcome = {True: "passed", False: "failed", None: "not judged"}[found.golden.passed]
    return f"{outcome}: {found.golden.sentence}"


def wrong_answers(answers: Sequence[Answer]) -> list[Answer]:
    """Return the wrong answers, the most confident first."""
    wrong = [answer for answer in answers if answer.predicted != answer.image.label]
    return sorted(wrong, key=lambda a: (-a.probability, a.image.relative))


def _mistakes(answers: Sequence[Answer], classes: Sequence[str]) -> list[Mistake]:
    return [
        Mistake(
            image=answer.image.relative,
            true=classes[answer.image.label],
            predicted=None if answer.predicted is None else classes[answer.predicted],
            probability=answer.probability,
        )
        for answer in wrong_answers(answers)
    ]


def _of_domains(quality: Quality) -> list[str]:
    """Return a line for each microscope, where the data name any."""
    return [
        f"{'microscope' if number == 0 else '':<10} {name}: recall {percent(own.macro_recall)} "
        f"({' … '.join(percent(end, 1) for end in own.macro_recall_interval_95)}) of "
        f"{counted(own.images, 'image')}"
        for number, (name, own) in enumerate(quality.domains.items())
    ]


def verdict_sentences(found: Guarding) -> list[str]:
    """Say what comes of the verdicts of one view."""
    counts = ", ".join(f"{count} {name}" for name, count in found.verdicts.items() if count)
    said = [f"{counts or 'none'}; accepted and wrong {percent(found.accepted_and_wrong, 1)} of all"]
    if found.abstained:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found.abstained.items())
        right = found.accuracy_of_fit
        others = "" if right is None else f"; right {percent(right, 1)} of the others"
        said.append(f"not fit to be judged: {reasons}{others}")
    if found.unknown_auc is not None:
        strange = found.unknown_verdicts.items()
        counts = ", ".join(f"{count} {name}" for name, count in strange if count)
        said.append(f"of unknown cells: {counts}; AUROC {found.unknown_auc:.3f}")
    return said


def _area(macro: MacroQuality) -> str:
    if macro.auc is None or macro.auc_interval_95 is None:
        return ""
    low, high = macro.auc_interval_95
    return f", AUC {macro.auc:.4f} ({low:.3f} … {high:.3f})"


def lines(report: ValidationReport) -> list[str]:
    """Return the report for a terminal; the verdict comes first."""
    found, verdict = report.found, report.verdict
    said = [f"{verdict.outcome.upper()}: {verdict.sentence}"]
    said += [f"{check.state:<12} {check.name}: {check.text}" for check in report.checks]
    said += [f"note: {note}" for note in report.notes]
    for number, view in enumerate(found.views):
        quality = view.quality
        macro = quality.macro
        low, high = quality.accuracy_interval_95
        said += [
            f"accuracy   {percent(quality.accuracy)} of {counted(view.images, 'image')} "
            f"({view.input}; 95 % between {percent(low, 1)} and {percent(high, 1)}"
            f"{_too_narrow(found)})",
            f"macro      recall {percent(macro.recall)} "
            f"({' … '.join(percent(end, 1) for end in macro.recall_interval_95)}), "
            f"precision {percent(macro.precision)}, "
            f"F1 {percent(macro.f1)}{_area(macro)}",
        ]
        if number == 0:
            said += [
                f"           {name}: recall {percent(own.recall)} of {own.images}"
                for name, own in quality.classes.items()
            ]
        said += _of_domains(quality)
        if view.without_cell:
            said.append(
                f"no cell    found in {counted(view.without_cell, 'image')}: counted as wrong"
            )
        said += [f"accepted   {sentence}" for sentence in view.acceptance.sentences]
        said += [f"verdicts   {sentence}" for sentence in verdict_sentences(view.guarding)]
    said.append(f"golden     {golden_words(found)}")
    if found.latency_ms is not None:
        shown = ("p50", "p90", "p99")
        times = ", ".join(f"{name} {found.latency_ms[name]:.2f} ms" for name in shown)
        said.append(f"latency    {times}")
    said += [
        f"memory     {mebibytes(found.memory_bytes.peak)} at most, of the model's process",
        f"kernels    {found.kernels.used} of {found.kernels.runtime}",
        f"arithmetic {found.kernels.arithmetic}",
        f"machine    {found.machine.words}",
        f"{RESEARCH_ONLY} {unknown_cells(found.model)}",
    ]
    return said
