"""The translation between two views by the places of their stained bodies alone.

Every pair of bodies, one of each view, proposes a shift; the one that most pairs agree on is
taken: RANSAC whose samples are all pairs, so that it needs no chance. What the bodies look like
does not enter, so that it errs for other reasons than a correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.slide.view import Plane

TOLERANCE = 2.0
"""Small pixels by which a body may be away from where the shift puts it."""

CLEAR, CLEAR_PAIRS = 0.8, 8
"""Share and number of pairs beyond which no other shift is looked at."""

LEAST_OVERLAP, CHANCE = 0.15, 0.1
CANDIDATES = 5
"""Shifts that are looked at closely."""

_CELL = 4


@dataclass(frozen=True)
class Vote:
    """The shift that most pairs of bodies agree on.

    Attributes:
        x: small pixels by which the second view lies to the right of the first.
        y: small pixels by which it lies below.
        pairs: bodies of the first that have one of the second there.
        expected: bodies that could have one: the lesser number of the two in what both show.
    """

    x: float
    y: float
    pairs: int
    expected: int

    @property
    def share(self) -> float:
        """Pairs by those that could be."""
        return self.pairs / max(self.expected, 1)

    @property
    def worth(self) -> float:
        """What shifts are chosen by: many pairs, and most of those that could be."""
        return self.pairs * self.share


def vote(first: Plane, second: Plane, shape: tuple[int, int]) -> Vote | None:
    """Return the shift on which most pairs agree; None without bodies.

    Args:
        first: (n, 2) places (x, y) in one view, in small pixels.
        second: (m, 2) places in the other.
        shape: (height, width) of both views.
    """
    if not len(first) or not len(second):
        return None
    apart = (first[:, None, :] - second[None, :, :]).reshape(-1, 2)
    height, width = shape
    columns, rows = 2 * width // _CELL + 2, 2 * height // _CELL + 2
    places = ((apart + np.array([width, height])) / _CELL).astype(np.int64)
    votes = np.bincount(places[:, 1] * columns + places[:, 0], minlength=rows * columns)
    grid = votes.reshape(rows, columns)
    # A shift may lie on the border of two cells: votes are summed over two by two.
    summed = grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]
    across = 1 - np.abs((np.arange(columns - 1) + 1) * _CELL / width - 1)
    down = 1 - np.abs((np.arange(rows - 1) + 1) * _CELL / height - 1)
    # The more of two views overlaps, the more pairs agree by chance.
    overlap = np.maximum(down, 0)[:, None] * np.maximum(across, 0)[None, :]
    worth = np.where(overlap > LEAST_OVERLAP, summed / np.sqrt(overlap + CHANCE), 0)
    best: Vote | None = None
    for place in np.argsort(-worth, axis=None, kind="stable")[:CANDIDATES]:
        row, column = divmod(int(place), columns - 1)
        corner = np.array([(column + 1) * _CELL - width, (row + 1) * _CELL - height], np.float32)
        found = _refined(first, second, apart, corner, shape)
        if found is not None and (best is None or found.worth > best.worth):
            best = found
            if best.share >= CLEAR and best.pairs >= CLEAR_PAIRS:
                break
    return best


def support(
    first: Plane, second: Plane, x: float, y: float, shape: tuple[int, int]
) -> tuple[int, int]:
    """Return how many pairs agree with a shift, and how many could, see `Vote`."""
    moved = second + np.array([x, y], np.float32)
    here, there = _inside(first, (x, y), shape), _inside(moved, (0.0, 0.0), shape)
    expected = min(int(here.sum()), int(there.sum()))
    if not expected:
        return 0, 0
    gaps = np.abs(first[here][:, None, :] - moved[there][None, :, :])
    near = (gaps**2).sum(2) <= TOLERANCE**2
    return int(min(near.any(0).sum(), near.any(1).sum())), expected


def _refined(
    first: Plane, second: Plane, apart: Plane, start: Plane, shape: tuple[int, int]
) -> Vote | None:
    shift = start
    for reach in (1.5 * _CELL, TOLERANCE, TOLERANCE):
        near = ((apart - shift) ** 2).sum(1) <= reach**2
        if not near.any():
            return None
        shift = np.median(apart[near], axis=0)
    x, y = float(shift[0]), float(shift[1])
    return Vote(x, y, *support(first, second, x, y, shape))


def _inside(
    places: Plane, corner: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which places lie in a view whose upper left corner is there, and in the one at 0."""
    height, width = shape
    left, top = max(0.0, corner[0]), max(0.0, corner[1])
    right, bottom = min(0.0, corner[0]) + width, min(0.0, corner[1]) + height
    x, y = places[:, 0], places[:, 1]
    rim = TOLERANCE
    return (x >= left + rim) & (x < right - rim) & (y >= top + rim) & (y < bottom - rim)
