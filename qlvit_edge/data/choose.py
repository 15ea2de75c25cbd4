"""A few out of many: evenly, and of every class."""

from __future__ import annotations

from collections.abc import Sequence

from qlvit_edge.data.folder import LabelledImage


def evenly(available: int, count: int) -> list[int]:
    """Return ``count`` (or all) of the numbers below ``available``, evenly spread, both ends in."""
    taken = min(count, available)
    return [round(index * (available - 1) / max(taken - 1, 1)) for index in range(taken)]


def shares(available: Sequence[int], count: int) -> list[int]:
    """Divide ``count`` among classes as evenly as they allow.

    What a small class lacks goes to the others; no class that has any is left without one,
    even if that makes more than ``count``.

    Args:
        available: images of each class.
        count: images wanted.

    Returns:
        How many to take of each class.
    """
    taken = [min(1, own) for own in available]
    while sum(taken) < min(count, sum(available)):
        least = min(n for n, own in zip(taken, available, strict=True) if n < own)
        for label, own in enumerate(available):
            if taken[label] == least < own and sum(taken) < count:
                taken[label] += 1
    return taken


def of_every_class(images: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """Choose about ``count`` images: of every class, evenly over its images; see `shares`."""
    labels = sorted({image.label for image in images})
    groups = [[image for image in images if image.label == label] for label in labels]
    chosen: list[LabelledImage] = []
    for group, wanted in zip(groups, shares([len(group) for group in groups], count), strict=True):
        chosen += [group[index * len(group) // wanted] for index in range(wanted)]
    return chosen
