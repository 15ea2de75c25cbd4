"""One fitting of a run to another microscope, from read cells to a network and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.adaptation.answers import answers
from qlvit_edge.adaptation.cells import AdaptationCell, Cells
from qlvit_edge.adaptation.choose import LEAST_PER_CLASS, Recall, recall_of
from qlvit_edge.adaptation.with_labels import Fitted, fit_to_labels, work_with_labels
from qlvit_edge.adaptation.without_labels import (
    LEAST_CELLS,
    Step,
    best_of,
    steps_without_labels,
    work_of,
)
from qlvit_edge.errors import DataError
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.progress import Progress
from qlvit_edge.text import counted
from qlvit_edge.training.adapted import Adapted, Method, Recalls
from qlvit_edge.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Adaptation:
    """A network fitted to another microscope.

    Attributes:
        network: the network.
        method: how it was made.
        share: of the new statistics in it.
        changed: share of the unlabelled cells answered otherwise than before.
        shares_before: of the classes among the answers before, (classes,) as fractions.
        shares_after: the same after.
        steps: what was tried without labels.
        fitted: what labels led to; None without labels.
        before: mean recall before; None without labels.
        after: mean recall after, by cross-validation; None without labels.
    """

    network: QLViT
    method: Method
    share: float
    changed: float
    shares_before: tuple[float, ...]
    shares_after: tuple[float, ...]
    steps: tuple[Step, ...]
    fitted: Fitted | None
    before: Recall | None
    after: Recall | None


def adapt(
    checkpoint: Checkpoint,
    unlabelled: Cells,
    labelled: Cells | None,
    seed: int,
    progress: Progress,
) -> Adaptation:
    """Fit a run's network to another microscope's cells.

    Args:
        checkpoint: the run.
        unlabelled: cells without labels.
        labelled: cells with labels; None where there are none.
        seed: of everything random.
        progress: makes a progress bar.
    """
    network = checkpoint.network
    everyone = Cells([*unlabelled.cells, *([] if labelled is None else labelled.cells)])
    with progress("fitting without labels", work_of(len(everyone.cells))) as advance:
        steps = steps_without_labels(network, everyone, seed, advance)
    fitted, best = None, best_of(steps)
    result, method, share = best.network, best.method, best.share
    before = after = None
    if labelled is not None:
        with progress("fitting to labels", work_with_labels()) as advance:
            fitted = fit_to_labels(steps, labelled, unlabelled, seed, advance)
        result, method, share = fitted.network, fitted.method, fitted.share
        before, after = (
            recall_of(trial, labelled.labels, labelled.groups, seed)
            for trial in (fitted.before, fitted.after)
        )
    old, new = (answers(one, unlabelled.views).classes for one in (network, result))
    classes = network.config.classes
    shares = [
        tuple((np.bincount(one, minlength=classes) / len(one)).tolist()) for one in (old, new)
    ]
    changed = float((old != new).mean())
    return Adaptation(
        result, method, share, changed, shares[0], shares[1], tuple(steps), fitted, before, after
    )


def require_enough(unlabelled: Cells, folder: object) -> None:
    """Refuse too few unlabelled cells.

    Raises:
        DataError: there are fewer than `LEAST_CELLS`.
    """
    if len(unlabelled.cells) >= LEAST_CELLS:
        return
    found = counted(len(unlabelled.cells), "cell")
    pictures = counted(unlabelled.pictures, "picture")
    raise DataError(
        folder,
        f"gives {found} (of {pictures}), statistics need {LEAST_CELLS}",
        "add images; if these are fields of view, say so with --fields, else with --cells",
    )


def require_labels(labelled: Cells, classes: list[str], folder: object) -> None:
    """Refuse classes with too few labelled cells, one class only, or a picture in two.

    Raises:
        DataError: naming the class.
    """
    counts = np.bincount(labelled.labels, minlength=len(classes))
    for label in np.flatnonzero(counts):
        if counts[label] < LEAST_PER_CLASS:
            raise DataError(
                folder,
                f"has {counted(int(counts[label]), 'readable cell')} of class {classes[label]}, "
                f"cross-validation needs {LEAST_PER_CLASS}",
                "label more of them, or leave the class out",
            )
    met: dict[bytes, AdaptationCell] = {}
    for cell in labelled.cells:
        other = met.setdefault(cell.content, cell)
        if other.label != cell.label:
            raise DataError(
                folder, f"{other.name} and {cell.name} are one picture", "leave it in one class"
            )
    if np.count_nonzero(counts) < 2:
        raise DataError(folder, "has labelled cells of one class only", "label another class too")


def record(
    adaptation: Adaptation,
    checkpoint: Checkpoint,
    unlabelled: Cells,
    labelled: Cells | None,
    *,
    images: str,
    fields: bool,
    seed: int,
) -> Adapted:
    """Return what the new run records of its fitting.

    Args:
        adaptation: what was done.
        checkpoint: the run that was fitted.
        unlabelled: the cells.
        labelled: those with labels.
        images: name of the folder of the unlabelled pictures.
        fields: whether they were fields of view.
        seed: of everything random.
    """
    names = checkpoint.run.classes
    counts: dict[str, int] = {}
    for cell in [] if labelled is None else labelled.cells:
        counts[names[cell.label]] = counts.get(names[cell.label], 0) + 1
    recalls = [
        None if found is None else Recalls(value=found.value, low=found.low, high=found.high)
        for found in (adaptation.before, adaptation.after)
    ]
    return Adapted(
        name=checkpoint.folder.resolve().name,
        checkpoint_sha256=checkpoint.sha256,
        images=images,
        method=adaptation.method,
        share=adaptation.share,
        cells=len(unlabelled.cells),
        labelled=dict(sorted(counts.items())),
        fields=fields,
        changed=adaptation.changed,
        before=recalls[0],
        after=recalls[1],
        seed=seed,
    )
