"""What integers cost in accuracy, and the budget for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import AccuracyBudgetError

CLASS_FACTOR = 3.0
"""How many times the budget a single class may lose."""


@dataclass(frozen=True)
class Accuracies:
    """Accuracy of the float network and of the file, overall and per class.

    Attributes:
        images: images judged.
        float_accuracy: of the float network.
        file_accuracy: of the file on the default kernels.
        agreement: share of images with the same class in both.
        float_recall: per class, of the float network; None for a class without images.
        file_recall: per class, of the file.
    """

    images: int
    float_accuracy: float
    file_accuracy: float
    agreement: float
    float_recall: dict[str, float | None] = field(default_factory=dict)
    file_recall: dict[str, float | None] = field(default_factory=dict)

    @property
    def drop(self) -> float:
        """Accuracy lost, in percentage points."""
        return 100 * (self.float_accuracy - self.file_accuracy)


def judge(
    labels: NDArray[np.int64],
    float_classes: NDArray[np.int64],
    file_classes: NDArray[np.int64],
    names: Sequence[str],
) -> Accuracies:
    """Compare the classes (N,) that the float network and the file give."""

    def recall(classes: NDArray[np.int64]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for index, name in enumerate(names):
            own = labels == index
            found[name] = float((classes[own] == index).mean()) if own.any() else None
        return found

    return Accuracies(
        images=len(labels),
        float_accuracy=float((float_classes == labels).mean()),
        file_accuracy=float((file_classes == labels).mean()),
        agreement=float((float_classes == file_classes).mean()),
        float_recall=recall(float_classes),
        file_recall=recall(file_classes),
    )


def check_budget(accuracies: Accuracies, max_drop: float, target: object) -> None:
    """Refuse a file that loses more than ``max_drop`` points, or 3× that for one class.

    Raises:
        AccuracyBudgetError: naming what was lost and where.
    """
    remedy = "calibrate on more images, try --softmax exact, or allow more with --max-drop"
    slack = 1e-9
    if accuracies.drop > max_drop + slack:
        raise AccuracyBudgetError(
            target,
            f"not written: integers lose {accuracies.drop:.2f} points of accuracy "
            f"({accuracies.float_accuracy:.2%} → {accuracies.file_accuracy:.2%}), "
            f"{max_drop:g} are allowed",
            remedy,
        )
    for name, before in accuracies.float_recall.items():
        after = accuracies.file_recall[name]
        if before is None or after is None:
            continue
        lost = 100 * (before - after)
        if lost > CLASS_FACTOR * max_drop + slack:
            raise AccuracyBudgetError(
                target,
                f"not written: integers lose {lost:.2f} points on class {name} "
                f"({before:.2%} → {after:.2%}), {CLASS_FACTOR * max_drop:g} are allowed",
                remedy,
            )
