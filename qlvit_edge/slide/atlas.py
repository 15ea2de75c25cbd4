"""Views that are kept, where they lie, and the islands that they form.

A view is kept where the slide was not seen before. Kept views are tied to one another by measured
translations; when a place is seen again, one more tie closes a loop, and all places are found anew
by linear least squares. Views that no tie connects are islands: how they lie to each other is not
known.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.slide.correlation import Spectra
from qlvit_edge.slide.view import View

MOST_PICTURES = 200
"""Kept views whose small picture stays in memory (100 kB each), those last of use; at another
kept view no frame is recognised, but its cells stay where they are."""

MOST_SPECTRA = 8
"""Of these, how many also in the Fourier domain (600 kB each)."""

GAP = 3.0
"""Small pixels by which a place that is seen again may be off, and ..."""

GAP_PER_VIEW = 0.5
"""... by how much more for each view kept between."""

LARGEST_RESIDUAL = 2.0
"""Small pixels by which a tie may differ from the places found by least squares."""


@dataclass
class Kept:
    """A kept view.

    Attributes:
        view: its picture; None when that was given up.
        island: number of its island.
        scale: frame pixels per small pixel.
        size: (width, height) of the frame.
        doubtful: whether its place contradicts another.
        cells: numbers of the cells that are anchored to it.
    """

    view: View | None
    island: int
    scale: float
    size: tuple[int, int]
    doubtful: bool = False
    cells: list[int] = field(default_factory=list)


class Atlas:
    """Kept views and the ties between them.

    Attributes:
        kept: the views, in the order in which they were kept.
        places: (n, 2) float64, where each lies in its island, in frame pixels.
        contradictions: ties that were measured but cannot be true beside the others.
    """

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.contradictions = 0
        self._room = np.zeros((64, 2))
        self._islands = np.zeros(64, np.int64)
        self._ties: list[tuple[int, int, float, float]] = []
        self._tied: set[tuple[int, int]] = set()
        self._pictures: OrderedDict[int, None] = OrderedDict()
        self._spectra: OrderedDict[int, Spectra] = OrderedDict()

    @property
    def places(self) -> NDArray[np.float64]:
        """Where each kept view lies."""
        return self._room[: len(self.kept)]

    @property
    def islands(self) -> NDArray[np.int64]:
        """The island of each kept view."""
        return self._islands[: len(self.kept)]

    def keep(self, view: View, island: int, x: float, y: float) -> int:
        """Keep a view at a place of an island; return its number."""
        number = len(self.kept)
        if number == len(self._room):
            self._room = np.concatenate([self._room, np.zeros_like(self._room)])
            self._islands = np.concatenate([self._islands, np.zeros_like(self._islands)])
        self.kept.append(Kept(view, island, view.scale, view.size))
        self._room[number] = x, y
        self._islands[number] = island
        self.used(number)
        return number

    def used(self, number: int) -> None:
        """Note that a view's picture was of use; give up those that were not for longest."""
        if self.kept[number].view is None:
            return
        self._pictures[number] = None
        self._pictures.move_to_end(number)
        while len(self._pictures) > MOST_PICTURES:
            oldest, _ = self._pictures.popitem(last=False)
            self.kept[oldest].view = None
            self._spectra.pop(oldest, None)

    def spectra(self, number: int) -> Spectra | None:
        """Return a kept view as a correlation takes it; None when its picture was given up."""
        view = self.kept[number].view
        if view is None:
            return None
        found = self._spectra.setdefault(number, Spectra(view))
        self._spectra.move_to_end(number)
        while len(self._spectra) > MOST_SPECTRA:
            self._spectra.popitem(last=False)
        return found

    def pictured(self) -> list[int]:
        """Return the views whose pictures are at hand, the last used first."""
        return list(reversed(self._pictures))

    def overlapping(
        self, island: int, x: float, y: float, size: tuple[int, int]
    ) -> NDArray[np.int64]:
        """Return the views of an island that overlap a frame at a place, most first."""
        if not self.kept:
            return np.empty(0, np.int64)
        shares = self._shares(island, x, y, size)
        order = np.argsort(-shares, kind="stable")
        return np.asarray(order[: int((shares > 0).sum())], np.int64)

    def share(self, number: int, x: float, y: float) -> float:
        """Return the share of a frame at a place that a view of its island covers."""
        width, height = self.kept[number].size
        gap = np.abs(self.places[number] - (x, y))
        return float(max(0.0, 1 - gap[0] / width) * max(0.0, 1 - gap[1] / height))

    def _shares(
        self, island: int, x: float, y: float, size: tuple[int, int]
    ) -> NDArray[np.float64]:
        apart = np.abs(self.places - (x, y)) / size
        share = np.maximum(0, 1 - apart[:, 0]) * np.maximum(0, 1 - apart[:, 1])
        return np.where(self.islands == island, share, 0.0)

    def tie(self, first: int, second: int, x: float, y: float) -> bool:
        """Tie two views of one island by a measured translation in frame pixels.

        Returns:
            Whether it fits. What does not is left out and counted: one of the places is wrong.
        """
        pair = (min(first, second), max(first, second))
        if pair in self._tied:
            return True
        gap = self.places[second] - self.places[first] - (x, y)
        scale = self.kept[first].scale
        between = abs(first - second) - 1
        if math.hypot(*gap) > (GAP + GAP_PER_VIEW * between) * scale:
            self.contradictions += 1
            return False
        self._ties.append((first, second, x, y))
        self._tied.add(pair)
        if math.hypot(*gap) > 0.25 * scale:
            before = self.places.copy()
            self._settle(self.kept[first].island)
            if self._worst_residual(self.kept[first].island) > LARGEST_RESIDUAL * scale:
                self.places[:] = before
                self._ties.pop()
                self.contradictions += 1
                return False
        return True

    def join(self, into: int, joined: int, first: int, second: int, x: float, y: float) -> None:
        """Move an island into another: the translation between a view of each is measured."""
        offset = self.places[first] + (x, y) - self.places[second]
        members = self.islands == joined
        self.places[members] += offset
        self.islands[members] = into
        for number in np.flatnonzero(members):
            self.kept[number].island = into
        self._ties.append((first, second, x, y))
        self._tied.add((min(first, second), max(first, second)))

    def _of(self, island: int) -> list[tuple[int, int, float, float]]:
        return [tie for tie in self._ties if self.kept[tie[0]].island == island]

    def _worst_residual(self, island: int) -> float:
        ties = self._of(island)
        rows = np.array([(a, b) for a, b, _, _ in ties])
        measured = np.array([(x, y) for _, _, x, y in ties])
        apart = self.places[rows[:, 1]] - self.places[rows[:, 0]]
        return float(np.linalg.norm(apart - measured, axis=1).max())

    def _settle(self, island: int) -> None:
        """Find an island's places anew: least squares over its ties, its first view stays.

        Conjugate gradients on the normal equations, whose matrix is the ties' graph Laplacian.
        """
        members = np.flatnonzero(self.islands == island)
        local = {int(number): place for place, number in enumerate(members)}
        ties = self._of(island)
        first = np.array([local[tie[0]] for tie in ties])
        second = np.array([local[tie[1]] for tie in ties])
        measured = np.array([tie[2:] for tie in ties])

        def transposed(along: NDArray[np.float64]) -> NDArray[np.float64]:
            out = np.zeros((len(members), 2))
            np.add.at(out, second, along)
            np.subtract.at(out, first, along)
            out[0] = 0  # the first view stays
            return out

        solution = self.places[members]
        residual = transposed(measured - (solution[second] - solution[first]))
        direction, size = residual.copy(), float((residual**2).sum())
        for _ in range(20 * len(members)):
            if size < 1e-6:
                break
            image = transposed(direction[second] - direction[first])
            step = size / float((direction * image).sum())
            solution += step * direction
            residual -= step * image
            grown = float((residual**2).sum())
            direction, size = residual + grown / size * direction, grown
        self.places[members] = solution
