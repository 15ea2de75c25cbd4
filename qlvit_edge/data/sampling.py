"""Which images an epoch of training shows, and in which order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import Balance


class Drawn(Protocol):
    """What is drawn: an image with its class, microscope and source."""

    @property
    def label(self) -> int:
        """Index of its class."""

    @property
    def domain(self) -> str:
        """Its microscope; "" where nobody said."""

    @property
    def source(self) -> str:
        """Its photograph, slide or patient; "" where nobody said: the image is its own."""


def order(
    images: Sequence[Drawn], balance: Balance, count: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the indices (N,) of an epoch's images.

    Args:
        images: what is drawn from.
        balance: ``sampling`` draws every class equally often, ``domains`` every class of every
            microscope, within it every source, and within that every image; both with
            repetition. Otherwise every image is shown before one is shown again.
        count: N; None: as many as there are images.
        rng: source of randomness.
    """
    total = len(images)
    wanted = total if count is None else count
    if balance in ("sampling", "domains"):
        chances = class_chances(images) if balance == "sampling" else domain_chances(images)
        return np.asarray(rng.choice(total, wanted, p=chances), np.int64)
    rounds = [rng.permutation(total) for _ in range(-(-wanted // total))]
    return np.concatenate(rounds)[:wanted]


def draws_twice(balance: Balance, count: int | None, total: int) -> bool:
    """Tell whether an epoch may show one of ``total`` images more than once."""
    return balance in ("sampling", "domains") or (count is not None and count > total)


def class_chances(images: Sequence[Drawn]) -> NDArray[np.float64]:
    """Return each image's chance (images,), such that every class has the same."""
    labels = np.array([entry.label for entry in images])
    chances = 1 / np.bincount(labels)[labels]
    return np.asarray(chances / chances.sum(), np.float64)


def domain_chances(images: Sequence[Drawn]) -> NDArray[np.float64]:
    """Return each image's chance (images,), such that equals have the same, level by level.

    The levels are class × microscope, source, image.
    """
    levels: list[list[Hashable]] = [[], []]
    for index, entry in enumerate(images):
        kind = (entry.label, entry.domain)
        levels[0].append(kind)
        levels[1].append((kind, entry.source or index))
    kinds, sources = (np.array(_numbered(level)) for level in levels)
    _, first = np.unique(sources, return_index=True)
    sources_of_kind = np.bincount(kinds[first])
    chances = 1 / (sources_of_kind[kinds] * np.bincount(sources)[sources])
    return np.asarray(chances / chances.sum(), np.float64)


def _numbered(values: Sequence[Hashable]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]
