"""The validation report as one HTML page."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from qlvit_edge.evaluation import plots, report
from qlvit_edge.evaluation.validation import RESEARCH_ONLY, Answer, shown_to_model
from qlvit_edge.preprocess import decode, resize

MISTAKES_SHOWN = 12
_CARD_SIDE = 160


def render(figures: dict[str, Any], answers: Sequence[Answer], *, find: bool) -> str:
    """Return the page for what `validate` found.

    Args:
        figures: the figures, with `notes` (list of sentences) and `gate` (None, or
            `least` and `passed`) added by the command.
        answers: every answer, for curves and pictures.
        find: whether the finder's crops were classified; the pictures show them.
    """
    model, data = figures["model"], figures["data"]
    name = model["name"] or Path(model["file"]).name
    images = "image" if data["images"] == 1 else "images"
    return report.page(
        f"Validation of {name}",
        f"{data['images']} {images} of {data['folder']}, {data['input']}.",
        [
            report.notice(f"{RESEARCH_ONLY} {unknown_cells(model)}"),
            *map(report.notice, figures["notes"]),
            _tiles(figures),
            _classes(figures, answers),
            _mistakes(figures, answers, find),
            _golden(figures["golden"]),
            _speed(figures, answers),
            _about(figures),
            report.footer(f"{model['file']}, SHA-256 {model['sha256']}"),
        ],
    )


def unknown_cells(model: dict[str, Any]) -> str:
    """Say in a sentence which cells the model was never shown."""
    if model["unknown_cells"] is None:
        return "The file does not say which cells the model does not know."
    if not model["unknown_cells"]:
        return "The file names no cells that the model does not know."
    return (
        f"The model does not know {', '.join(model['unknown_cells'])}: "
        "it puts them into one of its classes."
    )


def golden_sentence(golden: dict[str, Any]) -> str:
    """Say in a sentence how the golden pairs came out."""
    if not golden["compared"]:
        return f"Golden pairs were not compared: {golden['reason']}."
    text = f"{golden['equal']} of {golden['compared']} golden pairs equal to the byte"
    if golden["largest_difference"]:
        text += (
            f" (logits that differ: {golden['values_that_differ']}, by at most "
            f"{golden['largest_difference']} LSB)"
        )
    if golden["must_be_equal"]:
        passed = "as it must be" if golden["passed"] else "but reference kernels must give them all"
        return f"{text}, {passed}."
    return f"{text}; only reference kernels must give the same bytes."


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction as a percentage."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _tiles(figures: dict[str, Any]) -> str:
    gate, latency, macro = figures["gate"], figures["latency_ms"], figures["macro"]
    low, high = figures["accuracy_interval_95"]
    interval = f"accuracy, 95 % interval {100 * low:.1f}–{100 * high:.1f} %"
    entries = [
        (percent(figures["accuracy"]), interval, ""),
        (percent(macro["recall"]), "macro recall", ""),
        (percent(macro["f1"]), "macro F1", ""),
        (f"{latency['p50']:.2f} ms" if latency else "–", "median latency", ""),
        (f"{figures['memory_bytes']['peak'] / 2**20:.0f} MiB", "peak memory", ""),
    ]
    if gate is not None:
        outcome = ("passed", "good") if gate["passed"] else ("missed", "bad")
        entries.append((outcome[0], f"gate of {percent(gate['least'])} accuracy", outcome[1]))
    return report.tiles(entries)


def _classes(figures: dict[str, Any], answers: Sequence[Answer]) -> str:
    header = ["class", "images", "recall", "precision", "F1", "AUC"]
    rows = [
        [
            name,
            str(scores["images"]),
            *(percent(scores[key]) for key in ("recall", "precision", "f1")),
            "–" if scores["auc"] is None else f"{scores['auc']:.4f}",
        ]
        for name, scores in figures["classes"].items()
    ]
    macro = figures["macro"]
    average = "–" if macro["auc"] is None else f"{macro['auc']:.4f}"
    rows.append(
        [
            "mean over classes",
            str(figures["data"]["images"]),
            *(percent(macro[key]) for key in ("recall", "precision", "f1")),
            average,
        ]
    )
    confusion, labels = figures["confusion"], list(figures["classes"])
    matrix = np.array(confusion["counts"], np.int64)
    truth = [answer.image.label for answer in answers]
    scores = np.array([answer.probabilities for answer in answers])
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "confusion.png", Path(folder) / "roc.png"
        plots.plot_confusion(matrix, labels, first, columns=confusion["columns"])
        plots.plot_roc(truth, scores, labels, second)
        drawn = [
            (first.read_bytes(), "confusion matrix, counts in the table of report.json"),
            (second.read_bytes(), "ROC curves of one class against the rest"),
        ]
    low, high = (percent(value) for value in figures["accuracy_interval_95"])
    interval = (
        f"Accuracy lies between {low} and {high} in 95 % of 1000 draws over "
        f"{figures['interval_drawn_over']}."
    )
    blocks = [report.table(header, rows), report.paragraph(interval), report.pictures(drawn)]
    lost = figures["data"]["without_cell"]
    if lost:
        blocks.insert(1, report.paragraph(f"No cell was found in {lost} images: counted as wrong."))
    return report.section("Accuracy by class", *blocks)


def _mistakes(figures: dict[str, Any], answers: Sequence[Answer], find: bool) -> str:
    wrong = wrong_answers(answers)
    if not wrong:
        return report.section("Mistakes", report.paragraph("None: every image was right."))
    labels = list(figures["classes"])
    entries = []
    for answer in wrong[:MISTAKES_SHOWN]:
        true = labels[answer.image.label]
        if answer.predicted is None:
            line, detail = f"no cell found, is {true}", ""
        else:
            line = f"{labels[answer.predicted]} {percent(max(answer.probabilities), 1)}"
            detail = f"is {true} ({percent(answer.probabilities[answer.image.label], 1)}); "
        entries.append((_card(answer, find), line, f"{detail}{answer.image.relative}"))
    shown = min(len(wrong), MISTAKES_SHOWN)
    text = f"{len(wrong)} of {len(answers)} images; the {shown} most confident first."
    return report.section("Mistakes", report.paragraph(text), report.cards(entries))


def wrong_answers(answers: Sequence[Answer]) -> list[Answer]:
    """Return the wrong answers, the most confident first."""
    wrong = [answer for answer in answers if answer.predicted != answer.image.label]
    return sorted(wrong, key=lambda a: (-max(a.probabilities), a.image.relative))


def _card(answer: Answer, find: bool) -> bytes:
    """What the model saw, small, as JPEG."""
    image = decode(answer.image.path)
    picture = shown_to_model(image, find=find)
    picture = image if picture is None else picture
    scale = min(1.0, 2 * _CARD_SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    small = np.ascontiguousarray(resize(picture, size)[:, :, ::-1])
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return content.tobytes()


def _golden(golden: dict[str, Any]) -> str:
    return report.section("Golden pairs", report.paragraph(golden_sentence(golden)))


def _speed(figures: dict[str, Any], answers: Sequence[Answer]) -> str:
    kernels, memory, latency = figures["kernels"], figures["memory_bytes"], figures["latency_ms"]
    grown = memory["peak"] - memory["before_model"]
    entries = [
        ("kernels that ran", f"{kernels['used']} (asked for: {kernels['asked']})"),
        ("runtime", f"{kernels['runtime']}, one thread"),
        (
            "peak memory",
            f"{memory['peak'] / 2**20:.1f} MiB, {grown / 2**20:.1f} MiB of it since "
            "before the model was loaded",
        ),
        ("machine", f"{figures['machine']['system']}, {figures['machine']['processor']}"),
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


def _about(figures: dict[str, Any]) -> str:
    model = figures["model"]
    entries = [
        ("integers only", model["verdict"]),
        ("size", f"{model['bytes']:,} bytes"),
        ("intended use", model["intended_use"] or "not said in the file"),
        ("trained on", model["training_data"] or "not said in the file"),
        ("split of training", model["split_fingerprint"] or "not said in the file"),
    ]
    return report.section("The model", report.pairs(entries))
