"""The differential of counted cells: per class the count, its limits and what corrects it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qlvit_edge.differential.analyser import Analyser, Comparison
from qlvit_edge.differential.correction import (
    REPLICATES,
    Correction,
    NotCorrectableError,
    correct,
)
from qlvit_edge.differential.tally import BESIDE, Tally
from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.statistics import clopper_pearson

Limits = tuple[float, float]
"""Of a 95 % interval, as shares."""

NO_CONFUSION = (
    "the model file does not hold the model's mistakes on held-out cells; convert it again with "
    "the run's data"
)


@dataclass(frozen=True)
class Mistakes:
    """The model's mistakes as far as they hold for a run, or why they do not.

    Attributes:
        confusion: of the model file; None where it has none, or it does not hold.
        finding: why not; "" where there is one.
    """

    confusion: Confusion | None
    finding: str = ""

    @classmethod
    def of(
        cls, confusion: Confusion | None, accept_at: float, *, familiar: bool | None = None
    ) -> Mistakes:
        """Tell whether a file's mistakes are those that a run makes.

        Args:
            confusion: of the model file.
            accept_at: smallest probability of an accepted answer in the run.
            familiar: whether its images are like those of the model; None: not known.
        """
        if confusion is None:
            return cls(None, NO_CONFUSION)
        if abs(accept_at - confusion.accept_at) > 1e-6:
            return cls(
                None,
                f"answers are accepted from {accept_at:.1%}, the model's mistakes are known from "
                f"{confusion.accept_at:.1%} on",
            )
        if familiar is False:
            return cls(None, "the images are unlike those that the model's mistakes are known from")
        return cls(confusion)


@dataclass(frozen=True)
class ClassShare:
    """One class of a differential.

    Attributes:
        label: the class.
        count: accepted cells.
        share: of all counted cells; None where there are none.
        limits: exact 95 % limits of the share (Clopper and Pearson).
        corrected: the share corrected for the model's mistakes; None where that is not possible.
        corrected_limits: its 95 % interval.
        analyser: what an analyser says, as `Comparison`; None where it says nothing
            of the class, or nothing is counted.
    """

    label: str
    count: int
    share: float | None
    limits: Limits
    corrected: float | None = None
    corrected_limits: Limits | None = None
    analyser: Comparison | None = None


@dataclass(frozen=True)
class Differential:
    """The differential of a run.

    Attributes:
        cells: counted cells: whole ones whose answer was accepted, of the classes below.
        classes: by class, in the model's order; only those that are counted.
        apart: accepted cells of classes that are no white cells, such as erythroblasts.
        beside: other cells beside the differential by the reason, all of `BESIDE`.
        not_corrected: why there is no corrected estimate; None where there is one.
        held_out_cells: that the model's mistakes are known from; 0 without a correction.
        held_out_sources: photographs, slides or patients of these; 0 where they are not known.
        analyser: name of the analyser; None where none was compared.
    """

    cells: int
    classes: tuple[ClassShare, ...]
    apart: dict[str, int]
    beside: dict[str, int]
    not_corrected: str | None
    held_out_cells: int = 0
    held_out_sources: int = 0
    analyser: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)


def differential_of(
    tally: Tally,
    mistakes: Mistakes,
    analyser: Analyser | None = None,
    *,
    replicates: int = REPLICATES,
) -> Differential:
    """Work out a differential.

    Args:
        tally: the cells.
        mistakes: of the model.
        analyser: to compare with.
        replicates: draws for the corrected interval; with 1000, about 0.1 s.
    """
    total = tally.total
    correction, finding = _correction(tally, mistakes, replicates)
    classes = []
    for index, label in enumerate(tally.counted):
        count = tally.accepted[label]
        limits = clopper_pearson(count, total)
        between = None
        if correction is not None:
            between = float(correction.low[index]), float(correction.high[index])
        classes.append(
            ClassShare(
                label,
                count,
                count / total if total else None,
                limits,
                None if correction is None else float(correction.shares[index]),
                between,
                None if analyser is None or not total else analyser.compare(label, limits),
            )
        )
    confusion = mistakes.confusion if correction is not None else None
    return Differential(
        cells=total,
        classes=tuple(classes),
        apart=tally.apart,
        beside={reason: tally.beside[reason] for reason in BESIDE},
        not_corrected=finding,
        held_out_cells=0 if confusion is None else confusion.cells,
        held_out_sources=0 if confusion is None or not confusion.grouped else confusion.sources,
        analyser=None if analyser is None else analyser.name,
    )


def _correction(
    tally: Tally, mistakes: Mistakes, replicates: int
) -> tuple[Correction | None, str | None]:
    """Return the correction of the counted classes' shares, or why there is none."""
    if mistakes.confusion is None:
        return None, mistakes.finding
    counts = [tally.accepted[label] for label in tally.labels]
    counted = [tally.labels.index(label) for label in tally.counted]
    try:
        return correct(counts, mistakes.confusion, counted, replicates=replicates), None
    except NotCorrectableError as error:
        return None, error.said_of(tally.labels)
