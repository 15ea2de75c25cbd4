"""The validation report as one HTML page."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from qlvit_edge.evaluation import plots, report
from qlvit_edge.evaluation.validation import RESEARCH_ONLY, Answer, model_picture
from qlvit_edge.evaluation.validation_report import (
    Measurement,
    Mistake,
    ModelFacts,
    ValidationReport,
)
from qlvit_edge.preprocess import decode, resize

MISTAKES_SHOWN = 12
_CARD_SIDE = 160


def render(validation: ValidationReport, answers: Sequence[Answer], *, find: bool) -> str:
    """Return the page for what `validate` reports.

    Args:
        validation: the report.
        answers: every answer, for curves and pictures.
        find: whether the finder's crops were classified; the pictures show them.
    """
    found = validation.found
    model, data = found.model, found.data
    name = model.name or Path(model.file).name
    images = "image" if data.images == 1 else "images"
    return report.page(
        f"Validation of {name}",
        f"{data.images} {images} of {data.folder}, {data.input}.",
        [
            report.notice(f"{RESEARCH_ONLY} {unknown_cells(model)}"),
            *map(report.notice, validation.notes),
            _tiles(validation),
            _classes(found, answers),
            _mistakes(found, answers, find),
            report.section("Golden pairs", report.paragraph(found.golden.sentence)),
            _speed(found, answers),
            _about(model),
            report.footer(f"{model.file}, SHA-256 {model.sha256}"),
        ],
    )


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


def _tiles(validation: ValidationReport) -> str:
    gate, latency, quality = validation.gate, validation.found.latency_ms, validation.found.quality
    low, high = quality.accuracy_interval_95
    interval = f"accuracy, 95 % interval {100 * low:.1f}–{100 * high:.1f} %"
    entries = [
        (percent(quality.accuracy), interval, ""),
        (percent(quality.macro.recall), "macro recall", ""),
        (percent(quality.macro.f1), "macro F1", ""),
        (f"{latency['p50']:.2f} ms" if latency else "–", "median latency", ""),
        (f"{validation.found.memory_bytes.peak / 2**20:.0f} MiB", "peak memory", ""),
    ]
    if gate is not None:
        outcome = ("passed", "good") if gate.passed else ("missed", "bad")
        entries.append((outcome[0], f"gate of {percent(gate.least)} accuracy", outcome[1]))
    return report.tiles(entries)


def _classes(found: Measurement, answers: Sequence[Answer]) -> str:
    quality = found.quality
    header = ["class", "images", "recall", "precision", "F1", "AUC"]
    rows = [
        [
            name,
            str(own.images),
            *(percent(share) for share in (own.recall, own.precision, own.f1)),
            _area(own.auc),
        ]
        for name, own in quality.classes.items()
    ]
    macro = quality.macro
    rows.append(
        [
            "mean over classes",
            str(found.data.images),
            *(percent(share) for share in (macro.recall, macro.precision, macro.f1)),
            _area(macro.auc),
        ]
    )
    confusion, labels = quality.confusion, list(quality.classes)
    matrix = np.array(confusion.counts, np.int64)
    truth = [answer.image.label for answer in answers]
    scores = np.array([answer.probabilities for answer in answers])
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "confusion.png", Path(folder) / "roc.png"
        plots.plot_confusion(matrix, labels, first, columns=confusion.columns)
        plots.plot_roc(truth, scores, labels, second)
        drawn = [
            (first.read_bytes(), "confusion matrix, counts in the table of report.json"),
            (second.read_bytes(), "ROC curves of one class against the rest"),
        ]
    low, high = (percent(value) for value in quality.accuracy_interval_95)
    interval = (
        f"Accuracy lies between {low} and {high} in 95 % of 1000 draws over "
        f"{quality.interval_drawn_over}."
    )
    blocks = [report.table(header, rows), report.paragraph(interval), report.pictures(drawn)]
    lost = found.data.without_cell
    if lost:
        blocks.insert(1, report.paragraph(f"No cell was found in {lost} images: counted as wrong."))
    return report.section("Accuracy by class", *blocks)


def _area(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _mistakes(found: Measurement, answers: Sequence[Answer], find: bool) -> str:
    wrong = wrong_answers(answers)
    if not wrong:
        return report.section("Mistakes", report.paragraph("None: every image was right."))
    labels = list(found.quality.classes)
    entries = []
    for answer in wrong[:MISTAKES_SHOWN]:
        true = labels[answer.image.label]
        if answer.predicted is None:
            line, detail = f"no cell found, is {true}", ""
        else:
            line = f"{labels[answer.predicted]} {percent(max(answer.probabilities), 1)}"
            detail = f"is {true} ({percent(answer.probabilities[answer.image.label], 1)}); "
        entries.append((_card(answer, find), line, f"{detail}{answer.image.relative}"))
    listed = min(len(wrong), MISTAKES_SHOWN)
    text = f"{len(wrong)} of {len(answers)} images; the {listed} most confident first."
    return report.section("Mistakes", report.paragraph(text), report.cards(entries))


def wrong_answers(answers: Sequence[Answer]) -> list[Answer]:
    """Return the wrong answers, the most confident first."""
    wrong = [answer for answer in answers if answer.predicted != answer.image.label]
    return sorted(wrong, key=lambda a: (-max(a.probabilities), a.image.relative))


def mistakes(answers: Sequence[Answer], classes: Sequence[str]) -> list[Mistake]:
    """Return the wrong answers for the report, the most confident first."""
    return [
        Mistake(
            image=answer.image.relative,
            true=classes[answer.image.label],
            predicted=None if answer.predicted is None else classes[answer.predicted],
            probability=max(answer.probabilities),
        )
        for answer in wrong_answers(answers)
    ]


def _card(answer: Answer, find: bool) -> bytes:
    """What the model saw, small, as JPEG."""
    image = decode(answer.image.path)
    picture = model_picture(image, find=find)
    picture = image if picture is None else picture
    scale = min(1.0, 2 * _CARD_SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    small = np.ascontiguousarray(resize(picture, size)[:, :, ::-1])
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return content.tobytes()


def _speed(found: Measurement, answers: Sequence[Answer]) -> str:
    kernels, memory, latency = found.kernels, found.memory_bytes, found.latency_ms
    grown = memory.peak - memory.before_model
    entries = [
        ("kernels that ran", f"{kernels.used} (asked for: {kernels.asked})"),
        ("arithmetic", kernels.arithmetic),
        ("runtime", f"{kernels.runtime}, one thread"),
        (
            "peak memory",
            f"{memory.peak / 2**20:.1f} MiB, {grown / 2**20:.1f} MiB of it since "
            "before the model was loaded",
        ),
        ("machine", f"{found.machine.system}, {found.machine.processor}"),
    ]
    if latency is None:
        return report.section("Speed and memory", report.pairs(entries))
    entries.insert(
        2, ("latency", ", ".join(f"{name} {value:.2f} ms" for name, value in latency.items()))
    )
    times = [1000 * a.seconds for a in answers if a.predicted is not None]
    marks = {name: value for name, value in latency.items() if name != "mean"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latency.png"
        plots.plot_histogram(times, path, title="Latency of one inference", unit="ms", marks=marks)
        drawn = [(path.read_bytes(), "histogram of the latencies")]
    return report.section("Speed and memory", report.pairs(entries), report.pictures(drawn))


def _about(model: ModelFacts) -> str:
    entries = [
        ("integers only", model.verdict),
        ("size", f"{model.bytes:,} bytes"),
        ("intended use", model.intended_use or "not said in the file"),
        ("trained on", model.training_data or "not said in the file"),
        ("split of training", model.split_fingerprint or "not said in the file"),
    ]
    return report.section("The model", report.pairs(entries))
