"""The validation report as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qlvit_edge.evaluation import figures, quality_page, report
from qlvit_edge.evaluation.agreement import MOST_NAMED, Agreement
from qlvit_edge.evaluation.answers import Answer, Answers, View, model_picture
from qlvit_edge.evaluation.overlay import jpeg, smaller
from qlvit_edge.evaluation.validation_report import (
    Measurement,
    ModelFacts,
    ValidationReport,
    ViewFacts,
)
from qlvit_edge.evaluation.validation_text import (
    evidence,
    mebibytes,
    percent,
    unknown_cells,
    verdict_sentences,
    wrong_answers,
)
from qlvit_edge.evaluation.verdict import Check, Outcome, State
from qlvit_edge.preprocess import decode
from qlvit_edge.text import RESEARCH_ONLY, counted

MISTAKES_SHOWN = 12
MOODS: dict[Outcome, str] = {
    "may be used": "good",
    "may be used with reservations": "less",
    "may not be used": "bad",
}
_MOODS_OF_CHECKS: dict[State, str] = {
    "passed": "good",
    "failed": "bad",
    "warning": "less",
    "not examined": "less",
}


def render(validation: ValidationReport, answers: Sequence[Answers]) -> str:
    """Return the page for what `validate` reports.

    Args:
        validation: the report.
        answers: every answer of every view, for curves and pictures.
    """
    found, verdict = validation.found, validation.verdict
    model, data = found.model, found.data
    name = model.name or Path(model.file).name
    measured = validation.date.replace("T", " ")
    views = list(zip(found.views, answers, strict=True))
    return report.page(
        f"Validation of {name}",
        f"{counted(data.images, 'image')} of {data.folder}, measured {measured}",
        [
            report.verdict(verdict.outcome, verdict.sentence, MOODS[verdict.outcome]),
            checks_section(validation.checks),
            *_otherwise(validation.agreement),
            report.pairs(evidence(found), boxed=True),
            report.notice(f"{RESEARCH_ONLY} {unknown_cells(model)}"),
            *map(report.notice, validation.notes),
            _tiles(validation),
            _compared(found) if len(views) > 1 else "",
            *(_view(facts, own, data.unknown) for facts, own in views),
            _mistakes(found, answers[0]),
            _speed(validation, answers),
            _about(model),
            report.footer(f"{model.file}, SHA-256 {model.sha256}"),
        ],
    )


def checks_section(found: Sequence[Check]) -> str:
    """Return what was examined, how it came out, and the findings."""
    entries = [(_MOODS_OF_CHECKS[one.state], one.state, one.name, one.text) for one in found]
    return report.section("What was examined", report.checks(entries))


def _otherwise(found: Agreement | None) -> list[str]:
    """The images that another machine answered otherwise."""
    if found is None or not found.differences:
        return []
    rows = [
        [one.image, one.view, one.recorded or "–", one.here or "–", _steps(one.steps)]
        for one in found.differences
    ]
    text = (
        f"Compared with {found.device} ({found.machine}; {found.runtime}, {found.date}). At most "
        f"{MOST_NAMED} images are listed, those with another answer first."
    )
    header = ["image", "view", f"on {found.device}", "here", "farthest logit"]
    table = report.table(header, rows)
    return [report.section("Other than recorded", table, report.paragraph(text))]


def _steps(steps: float | None) -> str:
    return "–" if steps is None else f"{steps:g} LSB"


def _tiles(validation: ValidationReport) -> str:
    latency, quality, gates = (
        validation.found.latency_ms,
        validation.found.quality,
        validation.gates,
    )
    low, high = quality.accuracy_interval_95
    interval = f"accuracy, 95 % interval {100 * low:.1f}–{100 * high:.1f} %"
    entries = [
        (percent(quality.accuracy), interval, ""),
        (percent(quality.macro.recall), "macro recall", ""),
        (percent(quality.macro.f1), "macro F1", ""),
        (f"{latency['p50']:.2f} ms" if latency else "–", "median latency", ""),
        (mebibytes(validation.found.memory_bytes.peak), "memory of the model", ""),
    ]
    if gates.accuracy is not None:
        outcome, mood = _outcome(gates.accuracy.passed)
        entries.append((outcome, f"gate of {percent(gates.accuracy.least)} accuracy", mood))
    if gates.latency is not None:
        outcome, mood = _outcome(gates.latency.passed)
        budget = f"budget of {gates.latency.most_ms:g} ms at {gates.latency.at}"
        entries.append((outcome, budget, mood))
    return report.tiles(entries)


def _outcome(passed: bool) -> tuple[str, str]:
    return ("passed", "good") if passed else ("missed", "bad")


def _compared(found: Measurement) -> str:
    """The views side by side."""
    rows = []
    for view in found.views:
        low, high = view.quality.accuracy_interval_95
        rows.append(
            [
                view.input,
                percent(view.quality.accuracy),
                f"{percent(low, 1)} to {percent(high, 1)}",
                percent(view.quality.macro.recall),
                str(view.without_cell),
                f"{view.acceptance.known_accepted} of {view.acceptance.known}",
            ]
        )
    header = ["shown", "accuracy", "95 % interval", "macro recall", "no cell found", "accepted"]
    text = (
        "Every image was shown in both ways. The first row is judged; on a microscope the model "
        "is shown crops."
    )
    return report.section(
        "Whole images and crops", report.table(header, rows), report.paragraph(text)
    )


def _view(view: ViewFacts, answers: Answers, unknown: dict[str, int]) -> str:
    """One view: scores by class, curves, what the threshold lets through."""
    quality = view.quality
    truth = np.array([answer.image.label for answer in answers.known])
    scores = np.array([answer.probabilities for answer in answers.known])
    blocks = [
        *quality_page.scores(quality, view.images),
        report.drawings(
            [
                *quality_page.drawings(quality, truth, scores),
                figures.reliability(view.reliability, view.calibration_error),
                figures.risk_coverage(view.guarding.risk_coverage, _accepted_share(view)),
            ]
        ),
        *map(report.paragraph, view.acceptance.sentences),
        *map(report.paragraph, map(_capital, verdict_sentences(view.guarding))),
    ]
    if view.without_cell:
        images = counted(view.without_cell, "image")
        blocks.insert(1, report.paragraph(f"No cell was found in {images}: counted as wrong."))
    if unknown:
        blocks.append(_strangers(view))
    shown = view.input.partition(",")[0]
    return report.section(f"Accuracy by class: {shown}", *blocks)


def _accepted_share(view: ViewFacts) -> float:
    return view.acceptance.known_accepted / max(view.acceptance.known, 1)


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _strangers(view: ViewFacts) -> str:
    rows = [
        [folder, str(images), str(accepted), percent(accepted / images, 1)]
        for folder, (images, accepted) in view.acceptance.unknown_by_folder.items()
    ]
    return report.table(["unknown class", "images", "accepted", "share"], rows)


def _mistakes(found: Measurement, answers: Answers) -> str:
    wrong = wrong_answers(answers.known)
    if not wrong:
        return report.section("Mistakes", report.paragraph("None: every image was right."))
    labels = list(found.quality.classes)
    entries = []
    for answer in wrong[:MISTAKES_SHOWN]:
        true = labels[answer.image.label]
        if answer.predicted is None:
            line, detail = f"no cell found, is {true}", ""
        else:
            line = f"{labels[answer.predicted]} {percent(answer.probability, 1)}"
            detail = f"is {true} ({percent(answer.probabilities[answer.image.label], 1)}); "
        entries.append((_card(answer, answers.view), line, f"{detail}{answer.image.relative}"))
    listed = min(len(wrong), MISTAKES_SHOWN)
    first = "" if listed == 1 else f"; the {listed} most confident first"
    shown = answers.view.value.partition(",")[0]
    text = f"{len(wrong)} of {len(answers.known)} images ({shown}){first}."
    return report.section("Mistakes", report.paragraph(text), report.cards(entries))


def _card(answer: Answer, view: View) -> bytes:
    """What the model saw, small, as JPEG."""
    image = decode(answer.image.path)
    picture = model_picture(image, view)
    picture = image if picture is None else picture
    return jpeg(smaller(picture))


def _speed(validation: ValidationReport, answers: Sequence[Answers]) -> str:
    found = validation.found
    kernels, memory, latency = found.kernels, found.memory_bytes, found.latency_ms
    entries = [
        ("device", validation.predictions.device),
        ("machine", found.machine.words),
        ("system", f"{found.machine.system}, Python {found.machine.python}"),
        ("kernels that ran", f"{kernels.used} (asked for: {kernels.asked})"),
        ("arithmetic", kernels.arithmetic),
        ("runtime", f"{kernels.runtime}, one thread"),
        ("memory of the model's process", _grown(memory.peak, memory.before_model)),
        ("date", validation.date),
        ("command", validation.command),
    ]
    if latency is None:
        return report.section("Speed, memory and machine", report.pairs(entries))
    entries.insert(
        2, ("latency", ", ".join(f"{name} {value:.2f} ms" for name, value in latency.items()))
    )
    times = [
        1000 * answer.seconds
        for own in answers
        for answer in own.known
        if not math.isnan(answer.seconds)
    ]
    marks = {name: value for name, value in latency.items() if name != "mean"}
    drawn = figures.histogram(times, title="Latency of one inference", unit="ms", marks=marks)
    return report.section(
        "Speed, memory and machine", report.pairs(entries), report.drawings([drawn])
    )


def _grown(peak: int | None, before: int | None) -> str:
    if peak is None or before is None:
        return mebibytes(peak)
    grown = mebibytes(peak - before)
    return f"{mebibytes(peak)}, {grown} of it since before the model was loaded"


def _about(model: ModelFacts) -> str:
    entries = [
        ("integers only", model.verdict),
        ("size", f"{model.bytes:,} bytes"),
        ("intended use", model.intended_use or "not said in the file"),
        ("trained on", model.training_data or "not said in the file"),
        ("split of training", model.split_fingerprint or "not said in the file"),
    ]
    return report.section("The model", report.pairs(entries))
