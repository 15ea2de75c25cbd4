"""Which of a model's classes a white-cell differential counts.

Nucleated red cells, platelets, red cells and remnants are no white cells: laboratories give the
first per 100 white cells (CLSI H20-A2), and none of them is part of the 100 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qlvit_edge.text import folded

_NO_WHITE_CELLS: Final = frozenset(
    {
        *("erythroblast", "normoblast", "proerythroblast", "nrbc", "nucleatedredcell"),
        *("nucleatedredbloodcell", "erythrocyte", "redcell", "redbloodcell", "rbc"),
        *("reticulocyte", "platelet", "thrombocyte", "giantplatelet", "giantthrombocyte"),
        *("plateletclump", "thrombocyteaggregation", "megakaryocyte", "smudge", "smudgecell"),
        *("basketcell", "artefact", "artifact", "debris", "background", "stain", "precipitate"),
    }
)
"""Names without capitals, spaces and marks, in the singular."""


_PLATELETS: Final = frozenset({"platelet", "thrombocyte", "giantplatelet", "giantthrombocyte"})
"""Single ones; a clump is not one platelet."""


def is_platelet(label: str) -> bool:
    """Whether a class is that of single platelets, by its name."""
    name = folded(label)
    return name in _PLATELETS or name.removesuffix("s") in _PLATELETS


def counted_classes(labels: Sequence[str], added: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the classes that the differential counts, in the model's order.

    All but those that are known not to be white cells; of a model that knows only such, or only
    one other, all: it is for another differential. A class that people add does not change for
    which one it is.

    Args:
        labels: the model's classes.
        added: classes that people gave beside them.
    """
    white = tuple(label for label in labels if not _is_no_white_cell(label))
    if len(white) > 1:
        return (*white, *(label for label in added if not _is_no_white_cell(label)))
    return (*labels, *added)


def _is_no_white_cell(label: str) -> bool:
    name = folded(label)
    return name in _NO_WHITE_CELLS or name.removesuffix("s") in _NO_WHITE_CELLS
