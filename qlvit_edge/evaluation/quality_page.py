"""How right answers are, as blocks of a page: what validation and the report of a run share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.evaluation import figures, report
from qlvit_edge.evaluation.quality import Quality
from qlvit_edge.evaluation.validation_text import percent


def scores(quality: Quality, images: int) -> list[str]:
    """Return the scores by class, those by microscope if there are any, and their intervals.

    Args:
        quality: of the answers.
        images: how many they are of.
    """
    header = ["class", "images", "recall", "precision", "F1", "AUC", "95 % interval"]
    rows = [
        [
            name,
            str(own.images),
            *(
                percent(share if own.images else None)
                for share in (own.recall, own.precision, own.f1)
            ),
            area(own.auc),
            _areas(own.auc_interval_95),
        ]
        for name, own in quality.classes.items()
    ]
    macro = quality.macro
    rows.append(
        [
            "mean over classes",
            str(images),
            *(percent(share) for share in (macro.recall, macro.precision, macro.f1)),
            area(macro.auc),
            _areas(macro.auc_interval_95),
        ]
    )
    blocks = [report.table(header, rows), report.paragraph(_intervals(quality))]
    if quality.domains:
        blocks.insert(1, _domains(quality))
    return blocks


def drawings(
    quality: Quality, truth: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> list[str]:
    """Return the confusion matrix and the ROC curves.

    Args:
        quality: of the answers.
        truth: (N,) true classes.
        probabilities: (N, classes).
    """
    labels = list(quality.classes)
    counts = np.array(quality.confusion.counts, np.int64)
    return [
        figures.confusion(counts, labels, quality.confusion.columns),
        figures.roc(truth, probabilities, labels),
    ]


def area(value: float | None) -> str:
    """Return an area under a curve in digits."""
    return "–" if value is None else f"{value:.4f}"


def _areas(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else " to ".join(f"{end:.3f}" for end in interval)


def _intervals(quality: Quality) -> str:
    low, high = (percent(value) for value in quality.accuracy_interval_95)
    least, most = (percent(value) for value in quality.macro.recall_interval_95)
    return (
        f"Accuracy (micro: every image counts alike) is {percent(quality.accuracy)}, mean recall "
        f"(macro: every class counts alike) {percent(quality.macro.recall)}. In 95 % of 1000 draws "
        f"over {quality.interval_drawn_over} they lie between {low} and {high}, and between "
        f"{least} and {most}; the last column is that interval of the AUC."
    )


def _domains(quality: Quality) -> str:
    rows = [
        [
            name,
            f"{own.images:,}",
            percent(own.macro_recall),
            " to ".join(percent(end, 1) for end in own.macro_recall_interval_95),
            percent(own.accuracy),
        ]
        for name, own in quality.domains.items()
    ]
    header = ["microscope", "images", "macro recall", "95 % interval", "accuracy"]
    return report.table(header, rows)
