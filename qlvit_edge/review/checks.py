"""What must be right before a result is signed, and what it then says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qlvit_edge.differential.differential import Differential, Mistakes, differential_of
from qlvit_edge.differential.tally import Tally
from qlvit_edge.review.cells import EXCLUDED, ReviewCell

_SHOWN = 5

REVIEWED = "people looked at every cell that is counted"
"""Why a reviewed count is not corrected for the model's mistakes."""


def left_to_do(cells: Sequence[ReviewCell]) -> list[str]:
    """Return what stands against a signature, one text per kind; empty where nothing does."""
    open_cells = [cell for cell in cells if cell.decision is None]
    unknown = [cell for cell in open_cells if cell.verdict == "unknown cell"]
    others = [cell for cell in open_cells if cell.verdict != "unknown cell"]
    found = []
    if not cells:
        found.append("it has no cells")
    if unknown:
        found.append(f"{_counted(unknown, 'unknown cell')} left ({_numbers(unknown)})")
    if others:
        found.append(f"{_counted(others, 'cell')} not looked at ({_numbers(others)})")
    return found


def final_counts(cells: Sequence[ReviewCell]) -> dict[str, int]:
    """Return the cells by class after review, and those beside them by the reason."""
    counts = _counts(cells)
    found = {str(label): counts[label] for label in sorted(counts, key=str)}
    excluded = sum(cell.decision is not None and cell.final is None for cell in cells)
    others = Counter({f"({EXCLUDED})": excluded}) + _uncounted(cells, "({})")
    return {**found, **dict(sorted(others.items()))}


def reviewed_differential(cells: Sequence[ReviewCell]) -> Differential:
    """Return the differential of the cells whose class people confirmed or changed.

    Where each cell is counted once, those that may be counted already stand beside it: people
    say what a cell is, not where on the slide it lies.

    Args:
        cells: the run's cells; those that nobody has looked at are not counted.
    """
    counts = _counts(cells)
    tally = Tally(labels_of(cells), added_labels(cells))
    tally.beside.update(_uncounted(cells, "{}"))
    for label, number in counts.items():
        tally.add(str(label), "accepted", cells=number)
    return differential_of(tally, Mistakes(None, REVIEWED), None)


def _counts(cells: Sequence[ReviewCell]) -> Counter[str]:
    return Counter(cell.final for cell in cells if cell.final is not None and not cell.uncounted)


def _uncounted(cells: Sequence[ReviewCell], form: str) -> Counter[str]:
    """Cells that people gave a class, but that are not counted, by the reason."""
    found = (cell.uncounted for cell in cells if cell.final is not None)
    return Counter(form.format(reason) for reason in found if reason is not None)


def labels_of(cells: Sequence[ReviewCell]) -> tuple[str, ...]:
    """Return the model's classes as its answers name them, and then those given by people."""
    return (*_labels_of_model(cells), *added_labels(cells))


def added_labels(cells: Sequence[ReviewCell]) -> tuple[str, ...]:
    """Return the classes that people gave and the model does not have, sorted."""
    given = {cell.final for cell in cells if cell.final is not None}
    return tuple(sorted(given - set(_labels_of_model(cells))))


def _labels_of_model(cells: Sequence[ReviewCell]) -> tuple[str, ...]:
    named = tuple(cells[0].probabilities) if cells else ()
    return (*named, *sorted({cell.label for cell in cells} - set(named)))


def _counted(cells: Sequence[ReviewCell], noun: str) -> str:
    return f"{len(cells)} {noun}{'' if len(cells) == 1 else 's'}"


def _numbers(cells: Sequence[ReviewCell]) -> str:
    shown = ", ".join(str(cell.id) for cell in cells[:_SHOWN])
    return f"{shown}, …" if len(cells) > _SHOWN else shown
