"""A few out of many, evenly."""

from __future__ import annotations


def evenly(available: int, count: int) -> list[int]:
    """Return ``count`` (or all) of the numbers below ``available``, evenly spread, both ends in."""
    taken = min(count, available)
    return [round(index * (available - 1) / max(taken - 1, 1)) for index in range(taken)]
