"""What integers cost in accuracy, and the one verdict on it: of `convert` and of `compare`.

A verdict is about the network, not about the images that happened to be judged. So a file is
refused where the images show that it loses more than the budget, and passes where there are
enough of them and they do not. Too few images are a verdict of their own, and no pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import AccuracyBudgetError
from qlvit_edge.statistics import CONFIDENCE, Pairs, clopper_pearson

CLASS_FACTOR = 3.0
"""How many times the budget a single class may lose."""

LEAST_IMAGES = 20
"""Images that a verdict takes. Of fewer, even a file that answers like the float network on every
one may lose 17 points and more."""

MAX_DROP = 0.5
"""The budget unless said otherwise, in points."""

LEAST_AGREEMENT = 0.95
"""Share of the float network's answers that a file must give where no accuracy can be measured: it
is refused where the exact 95 % interval lies below."""

Outcome = Literal["within the budget", "too few images", "over the budget", "not measured"]


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
        pairs: images that the file loses and gains against the float network.
        class_pairs: the same per class.
        measured: False where no class was known: only ``agreement`` then says anything, and each
            figure takes the float network's answers as right.
    """

    images: int
    float_accuracy: float
    file_accuracy: float
    agreement: float
    float_recall: dict[str, float | None]
    file_recall: dict[str, float | None]
    pairs: Pairs
    class_pairs: dict[str, Pairs] = field(default_factory=dict)
    measured: bool = True

    @property
    def drop(self) -> float:
        """Accuracy lost, in percentage points."""
        return 100 * self.pairs.drop

    @property
    def interval(self) -> tuple[float, float]:
        """Limits of the accuracy lost, in points, with 95 % confidence."""
        low, high = self.pairs.interval()
        return 100 * low, 100 * high

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON; drops are in points, as budgets are."""
        return {
            **asdict(self),
            "drop_points": self.drop,
            "drop_points_interval_95": list(self.interval),
            "mcnemar_p": self.pairs.p_value,
        }


def judge(
    labels: NDArray[np.int64],
    float_classes: NDArray[np.int64],
    file_classes: NDArray[np.int64],
    names: Sequence[str],
) -> Accuracies:
    """Compare the classes (N,) that the float network and the file give."""
    before, after = float_classes == labels, file_classes == labels

    def recall(right: NDArray[np.bool_]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for index, name in enumerate(names):
            own = labels == index
            found[name] = float(right[own].mean()) if own.any() else None
        return found

    def pairs(own: NDArray[np.bool_]) -> Pairs:
        lost, gained = (before & ~after)[own].sum(), (after & ~before)[own].sum()
        return Pairs(int(own.sum()), int(lost), int(gained))

    return Accuracies(
        images=len(labels),
        float_accuracy=float(before.mean()),
        file_accuracy=float(after.mean()),
        agreement=float((float_classes == file_classes).mean()),
        float_recall=recall(before),
        file_recall=recall(after),
        pairs=pairs(np.ones(len(labels), bool)),
        class_pairs={name: pairs(labels == index) for index, name in enumerate(names)},
    )


def unmeasured(
    float_classes: NDArray[np.int64], file_classes: NDArray[np.int64], names: Sequence[str]
) -> Accuracies:
    """Compare the classes (N,) that the float network and the file give to unlabelled images."""
    return replace(judge(float_classes, float_classes, file_classes, names), measured=False)


@dataclass(frozen=True)
class BudgetVerdict:
    """Whether integers cost more accuracy than allowed, as far as the images tell.

    Attributes:
        max_drop: the budget, in points.
        outcome: in words.
        finding: why it is no pass; where it is one, how much the images tell.
    """

    max_drop: float
    outcome: Outcome
    finding: str

    @property
    def passed(self) -> bool:
        """Too few images are no pass; accuracy that cannot be measured is one, and is said."""
        return self.outcome in ("within the budget", "not measured")

    def require(self, target: object) -> None:
        """Refuse what did not pass.

        Raises:
            AccuracyBudgetError: with the finding.
        """
        if self.passed:
            return
        remedy = "calibrate on more images, try --softmax exact, or allow more with --max-drop"
        if self.outcome == "too few images":
            remedy = "judge by more test images, or set no budget with --max-drop 100"
        raise AccuracyBudgetError(target, f"not written: {self.finding}", remedy)


def judge_budget(found: Accuracies, max_drop: float, *, every_class: bool = True) -> BudgetVerdict:
    """Hold a file to a budget: ``max_drop`` points overall, three times that for one class.

    Over the budget is a file of which the exact 95 % interval of the paired difference lies
    above it; for the classes, of which one must not fail by chance among many, the interval is
    wider by their number (Bonferroni).

    Args:
        found: what the float network and the file answered.
        max_drop: the budget, in points.
        every_class: a class without images is no pass. False for the package's crops, which do
            not show every class of every network: the finding then names what is missing.
    """
    if not found.measured:
        return _without_labels(found, max_drop)
    low, high = found.interval
    span = f"95 % between {low:+.2f} and {high:+.2f}"
    if low > max_drop:
        finding = (
            f"integers lose {found.drop:.2f} points of accuracy ({found.float_accuracy:.2%} → "
            f"{found.file_accuracy:.2%} of {found.images} images; {span}), {max_drop:g} are allowed"
        )
        return BudgetVerdict(max_drop, "over the budget", finding)
    allowed = CLASS_FACTOR * max_drop
    judged = {name: pairs for name, pairs in found.class_pairs.items() if pairs.images}
    for name, pairs in judged.items():
        limits = pairs.interval(1 - (1 - CONFIDENCE) / len(judged))
        if 100 * limits[0] > allowed:
            finding = (
                f"integers lose {100 * pairs.drop:.2f} points on class {name} "
                f"({found.float_recall[name]:.2%} → {found.file_recall[name]:.2%} of "
                f"{pairs.images} images), {allowed:g} are allowed"
            )
            return BudgetVerdict(max_drop, "over the budget", finding)
    if high <= max_drop:
        return BudgetVerdict(max_drop, "within the budget", f"shown by {found.images} images")
    if found.images < LEAST_IMAGES:
        few = f"{found.images} image{'' if found.images == 1 else 's'}"
        finding = (
            f"{few} cannot tell whether integers lose more than {max_drop:g} points ({span}); "
            f"at least {LEAST_IMAGES} are needed"
        )
        return BudgetVerdict(max_drop, "too few images", finding)
    absent = [name for name, pairs in found.class_pairs.items() if not pairs.images]
    named = ", ".join(absent)
    if absent and every_class:
        finding = f"no image of class {named} among the {found.images} judged"
        return BudgetVerdict(max_drop, "too few images", finding)
    finding = f"{found.images} images show no greater loss; they do not rule out {high:.2f} points"
    if absent:
        finding = f"{finding}, and there is no image of class {named}"
    return BudgetVerdict(max_drop, "within the budget", finding)


def _without_labels(found: Accuracies, max_drop: float) -> BudgetVerdict:
    """Judge a file by how often it answers as the float network does: all that can be known."""
    answers = f"the float network's class on {found.agreement:.2%} of {found.images} images"
    if found.images < LEAST_IMAGES:
        finding = f"{answers}; at least {LEAST_IMAGES} images are needed"
        return BudgetVerdict(max_drop, "too few images", finding)
    _, high = clopper_pearson(round(found.agreement * found.images), found.images)
    if high < LEAST_AGREEMENT:
        finding = f"the file gives {answers}, at least {LEAST_AGREEMENT:.0%} are asked for"
        return BudgetVerdict(max_drop, "over the budget", finding)
    return BudgetVerdict(max_drop, "not measured", f"the images have no labels; {answers}")
