"""What a model file tells of its own mistakes: held-out cells by class and answer, by source.

`convert` counts them on the file that it writes; `qlvit_edge.differential` corrects a count by
them. Names of sources stay at home: sources with the same cells and answers are one entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

MOST_CLASSES = 32
"""Of a model whose mistakes are kept: matrices grow with the square."""

MOST_KINDS = 4096
"""Entries that a file holds; sources beyond are pooled, which keeps how far they differ."""

_Index = Annotated[int, Field(ge=0, le=MOST_CLASSES)]
_Count = Annotated[int, Field(ge=1, le=10**9)]
_Kind = tuple[tuple[int, int, int], ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceKind(_Strict):
    """Sources (photographs, slides, patients) that hold the same cells with the same answers.

    Attributes:
        sources: how many.
        cells: of each of them, (class, answer, cells); the answer that comes after the last
            class is "not accepted".
    """

    sources: _Count
    cells: Annotated[list[tuple[_Index, _Index, _Count]], Field(min_length=1, max_length=1056)]


class Confusion(_Strict):
    """Held-out cells by class and answer of the integer file, by source.

    Attributes:
        version: of this structure.
        data: what cells they are, in words.
        grouped: whether their sources were known; if not, every image is a source of its own.
        accept_at: smallest probability of an answer that counts as accepted.
        kinds: the sources.
    """

    version: Literal[1] = 1
    data: Annotated[str, Field(max_length=1000)]
    grouped: bool
    accept_at: Annotated[float, Field(ge=0, le=1)]
    kinds: Annotated[list[SourceKind], Field(min_length=1, max_length=MOST_KINDS)]

    @classmethod
    def of(
        cls,
        labels: Sequence[int],
        answers: Sequence[int],
        sources: Sequence[str] | None,
        *,
        data: str,
        accept_at: float,
    ) -> Confusion:
        """Count cells.

        Args:
            labels: class of every cell.
            answers: the file's answer, the number of classes where it is not accepted.
            sources: of every cell; None: nobody knows, every cell is its own.
            data: what cells they are, in words.
            accept_at: smallest probability of an answer that counts as accepted.
        """
        by_source: dict[str, Counter[tuple[int, int]]] = {}
        for number, (label, answer) in enumerate(zip(labels, answers, strict=True)):
            source = str(number) if sources is None else sources[number]
            by_source.setdefault(source, Counter())[int(label), int(answer)] += 1
        kinds = _kinds(list(by_source.values()))
        return cls(
            data=data[:1000],
            grouped=sources is not None,
            accept_at=accept_at,
            kinds=[SourceKind(sources=count, cells=list(kind)) for kind, count in kinds],
        )

    def require_fit(self, classes: int) -> None:
        """Refuse the mistakes of a model with other classes.

        Args:
            classes: how many the model knows.

        Raises:
            ValueError: they are another model's.
        """
        if classes > MOST_CLASSES:
            raise ValueError(f"mistakes are kept of {MOST_CLASSES} classes at most")
        for kind in self.kinds:
            if any(label >= classes or answer > classes for label, answer, _ in kind.cells):
                raise ValueError("the confusion has a class that the model does not know")

    @property
    def sources(self) -> int:
        """How many sources there are."""
        return sum(kind.sources for kind in self.kinds)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return sum(kind.sources * count for kind in self.kinds for _, _, count in kind.cells)

    def by_kind(self, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the cells (kinds, classes, classes + 1) of one source each, and sources (kinds,).

        The last column is what is not accepted.

        Args:
            classes: how many the model knows.
        """
        table = np.zeros((len(self.kinds), classes, classes + 1))
        for row, kind in zip(table, self.kinds, strict=True):
            for label, answer, count in kind.cells:
                row[label, answer] += count
        return table, np.array([kind.sources for kind in self.kinds], np.float64)

    def sources_of(self, classes: int) -> list[int]:
        """Return how many sources hold cells of each class."""
        found = [0] * classes
        for kind in self.kinds:
            for label in {label for label, _, _ in kind.cells}:
                found[label] += kind.sources
        return found


def _kinds(sources: list[Counter[tuple[int, int]]]) -> list[tuple[_Kind, int]]:
    """Return kinds of sources with their number, sorted; pooled where there are too many."""
    kinds = Counter(map(_kind, sources))
    if len(kinds) > MOST_KINDS:
        pools: list[Counter[tuple[int, int]]] = [Counter() for _ in range(MOST_KINDS)]
        for number, source in enumerate(sources):
            pools[number % MOST_KINDS].update(source)
        kinds = Counter(map(_kind, pools))
    return sorted(kinds.items())


def _kind(source: Counter[tuple[int, int]]) -> _Kind:
    return tuple(sorted((label, answer, count) for (label, answer), count in source.items()))
