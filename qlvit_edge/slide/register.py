"""The cells of a slide: each once, with the best of its views."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from qlvit_edge.fields.finder import Cell
from qlvit_edge.slide.atlas import Atlas
from qlvit_edge.slide.quality import Answer, is_whole

SAME_PLACE = 0.45
"""Two boxes whose centres are less than this share of their mean side apart are of one cell."""

SAME_BOX = 0.6
"""A box that the frame's edge cuts is of a cell that covers this share of it."""

INSIDE = 0.8
"""A frame shows a cell's whole place where the cell's centre is so many sides from its edge."""

FEW_VIEWS = 4
"""From so many sharp frames that showed its place on, a cell must be in ..."""

LEAST_SEEN = 0.5
"""... this share of them, or it is doubtful."""

OFTEN = 4
"""Where the usual cell was found so often, one that was found once is doubtful."""

CROWDED = 0.6
"""Of two cells whose centres are less than this share of their mean side apart, the one that was
seen less often may be the other one, found differently."""


@dataclass
class SlideCell:
    """A cell of the slide.

    Attributes:
        number: its own, from 1.
        anchor: the kept view to which its place is tied.
        x: centre in frame pixels, from the anchor's upper left corner.
        y: centre.
        width: of its box, of the best view.
        height: of its box.
        whole: whether a frame has shown all of it.
        answer: of the best view.
        quality: how good that is, see `quality_of`.
        seen: sharp frames in which it was found whole.
        glimpsed: other frames in which it was found whole.
        shown: sharp frames that showed its whole place.
        close: cells that lay so near that it may be one of them.
        apart: cells beside it in one frame, which it therefore is not.
    """

    number: int
    anchor: int
    x: float
    y: float
    width: float
    height: float
    whole: bool
    answer: Answer
    quality: float
    seen: int = 0
    glimpsed: int = 0
    shown: int = 0
    apart: set[int] = field(default_factory=set)
    close: set[int] = field(default_factory=set)

    @property
    def inconstant(self) -> bool:
        """Whether most frames that should show it do not."""
        return self.shown >= FEW_VIEWS and self.seen < LEAST_SEEN * self.shown

    @property
    def found(self) -> int:
        """In how many frames it was found whole."""
        return self.seen + self.glimpsed


class Register:
    """All cells found so far.

    Attributes:
        cells: by number; cells that turned out to be others are gone.
    """

    def __init__(self, atlas: Atlas) -> None:
        self.cells: dict[int, SlideCell] = {}
        self._atlas = atlas
        self._last = 0

    def centre(self, cell: SlideCell) -> tuple[float, float]:
        """Return where a cell lies in its island, in frame pixels."""
        x, y = self._atlas.places[cell.anchor]
        return float(x) + cell.x, float(y) + cell.y

    def island(self, cell: SlideCell) -> int:
        """Return the island that a cell is on."""
        return self._atlas.kept[cell.anchor].island

    def doubtful(self, sure: int) -> set[int]:
        """Return the numbers of the cells that may be others, or none.

        Args:
            sure: the island that counts.
        """
        often = sorted(cell.found for cell in self.cells.values() if cell.whole)
        least = 2 if often and often[len(often) // 2] >= OFTEN else 0
        return {cell.number for cell in self.cells.values() if self._is_doubtful(cell, sure, least)}

    def _is_doubtful(self, cell: SlideCell, sure: int, least: int) -> bool:
        kept = self._atlas.kept[cell.anchor]
        if kept.island != sure or kept.doubtful or cell.inconstant or cell.found < least:
            return True
        others = (self.cells[number] for number in cell.close if number in self.cells)
        return any(
            other.whole
            and (other.seen, other.glimpsed, -other.number)
            > (cell.seen, cell.glimpsed, -cell.number)
            and self.island(other) == kept.island
            and self._gap(cell, other) < CROWDED
            for other in others
        )

    def place(
        self,
        anchor: int,
        corner: tuple[float, float],
        found: Sequence[tuple[Cell, Answer, float]],
        sharp: bool,
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Note the cells of one placed frame.

        Args:
            anchor: the kept view that the frame was placed by.
            corner: the frame's upper left corner in its island, in frame pixels.
            found: its cells, what was said about each, and how good each view is.
            sharp: whether it is as sharp as usual: only then what it does not show counts.

        Returns:
            The number of each cell, in the order of ``found``; and (number given up, number that
            stays) of cells that turned out to be one.
        """
        kept = self._atlas.kept[anchor]
        near = self._near(kept.island, corner, kept.size)
        matches = self._matched(near, corner, [cell for cell, _, _ in found])
        base = self._atlas.places[anchor]
        numbers = []
        for place, (cell, answer, quality) in enumerate(found):
            known = matches.get(place)
            x, y = (corner[axis] + cell.centre[axis] - base[axis] for axis in (0, 1))
            box = float(x), float(y), float(cell.width), float(cell.height)
            if known is None:
                self._last += 1
                known = SlideCell(self._last, anchor, *box, not cell.cut, answer, quality)
                self.cells[known.number] = known
                kept.cells.append(known.number)
            elif quality > known.quality:
                self._better(known, anchor, box, answer, quality)
            known.seen += sharp and not cell.cut
            known.glimpsed += not sharp and not cell.cut
            numbers.append(known.number)
        whole = [n for n, (cell, _, _) in zip(numbers, found, strict=True) if not cell.cut]
        if sharp:
            self._note_shown(near, corner, kept.size, whole)
        self._note_apart(numbers)
        merged: list[tuple[int, int]] = []
        for number in numbers:
            if number in self.cells:  # not merged with another of this frame
                merged += self._merge_with(self.cells[number], near)
        return numbers, merged

    def merge_around(self, anchors: Iterable[int]) -> list[tuple[int, int]]:
        """Make one of cells that lie in one place now that the views' places have changed.

        Args:
            anchors: kept views whose cells may be others' now.

        Returns:
            (number given up, number that stays) of each.
        """
        merged = []
        for anchor in anchors:
            kept = self._atlas.kept[anchor]
            corner = tuple(map(float, self._atlas.places[anchor]))
            near = self._near(kept.island, (corner[0], corner[1]), kept.size)
            for number in list(kept.cells):
                if number not in self.cells:  # merged with another of this view
                    continue
                merged += self._merge_with(self.cells[number], near)
        return merged

    def _merge_with(self, cell: SlideCell, near: Sequence[SlideCell]) -> list[tuple[int, int]]:
        """Make one of a cell and the nearest that is the same; note those that may be."""
        others = [o for o in near if o.number != cell.number and o.number in self.cells]
        match = min(
            (o for o in others if cell.number not in o.apart and self._same(cell, o)),
            key=lambda other: self._gap(cell, other),
            default=None,
        )
        for other in others:
            if other is not match and self._gap(cell, other) < CROWDED:
                cell.close.add(other.number)
                other.close.add(cell.number)
        return [] if match is None else [self._merge(cell, match)]

    def _near(
        self, island: int, corner: tuple[float, float], size: tuple[int, int]
    ) -> list[SlideCell]:
        views = self._atlas.overlapping(island, *corner, size)
        return [self.cells[number] for view in views for number in self._atlas.kept[view].cells]

    def _matched(
        self, near: Sequence[SlideCell], corner: tuple[float, float], cells: Sequence[Cell]
    ) -> dict[int, SlideCell]:
        """Match a frame's cells with known ones, one to one, the nearest first."""
        pairs = []
        for place, cell in enumerate(cells):
            x, y = corner[0] + cell.centre[0], corner[1] + cell.centre[1]
            box = (x, y, float(cell.width), float(cell.height))
            for known in near:
                gap = _gap(box, (*self.centre(known), known.width, known.height))
                if gap < SAME_PLACE or (
                    (cell.cut or not known.whole)
                    and _covered(box, (*self.centre(known), known.width, known.height)) > SAME_BOX
                ):
                    pairs.append((gap, place, known.number))
        matches: dict[int, SlideCell] = {}
        taken: set[int] = set()
        for _, place, number in sorted(pairs):
            if place not in matches and number not in taken:
                matches[place] = self.cells[number]
                taken.add(number)
        return matches

    def _better(
        self,
        cell: SlideCell,
        anchor: int,
        box: tuple[float, float, float, float],
        answer: Answer,
        quality: float,
    ) -> None:
        if anchor != cell.anchor:
            self._atlas.kept[cell.anchor].cells.remove(cell.number)
            self._atlas.kept[anchor].cells.append(cell.number)
        cell.anchor = anchor
        cell.x, cell.y, cell.width, cell.height = box
        cell.whole, cell.answer, cell.quality = is_whole(quality), answer, quality

    def _note_shown(
        self,
        near: Sequence[SlideCell],
        corner: tuple[float, float],
        size: tuple[int, int],
        found: Sequence[int],
    ) -> None:
        """Count, for every cell whose whole place a sharp frame shows, that it does."""
        shown = {self.cells[number].number for number in found}
        for cell in near:
            x, y = self.centre(cell)
            x, y = x - corner[0], y - corner[1]
            room = INSIDE * cell.width, INSIDE * cell.height
            if room[0] < x < size[0] - room[0] and room[1] < y < size[1] - room[1]:
                shown.add(cell.number)
        for number in shown:
            self.cells[number].shown += 1

    def _note_apart(self, numbers: Sequence[int]) -> None:
        for place, number in enumerate(numbers):
            for other in numbers[:place]:
                if self._gap(self.cells[number], self.cells[other]) < 1:
                    self.cells[number].apart.add(other)
                    self.cells[other].apart.add(number)

    def _gap(self, one: SlideCell, other: SlideCell) -> float:
        return _gap(
            (*self.centre(one), one.width, one.height),
            (*self.centre(other), other.width, other.height),
        )

    def _same(self, one: SlideCell, other: SlideCell) -> bool:
        if self._gap(one, other) < SAME_PLACE:
            return True
        boxes = (
            (*self.centre(one), one.width, one.height),
            (*self.centre(other), other.width, other.height),
        )
        return not (one.whole and other.whole) and _covered(*boxes) > SAME_BOX

    def _merge(self, one: SlideCell, other: SlideCell) -> tuple[int, int]:
        """Make one of two cells, under the lower number."""
        stays, goes = (one, other) if one.number < other.number else (other, one)
        if goes.quality > stays.quality:
            anchor = goes.anchor
            box = (goes.x, goes.y, goes.width, goes.height)
            self._better(stays, anchor, box, goes.answer, goes.quality)
        stays.seen += goes.seen
        stays.glimpsed += goes.glimpsed
        stays.shown += goes.shown
        for number in goes.close & self.cells.keys() - {stays.number}:
            self.cells[number].close.add(stays.number)
            stays.close.add(number)
        self._atlas.kept[goes.anchor].cells.remove(goes.number)
        del self.cells[goes.number]
        for number in goes.apart - {stays.number}:
            if number in self.cells:
                self.cells[number].apart.add(stays.number)
                stays.apart.add(number)
        return goes.number, stays.number


Box = tuple[float, float, float, float]
"""Centre x, centre y, width, height."""


def _gap(one: Box, other: Box) -> float:
    """Distance of two centres by the mean side of the two boxes."""
    side = (one[2] + one[3] + other[2] + other[3]) / 4
    return math.hypot(one[0] - other[0], one[1] - other[1]) / max(side, 1.0)


def _covered(one: Box, other: Box) -> float:
    """Share of the smaller box that the other covers."""
    shared = 1.0
    for axis in (0, 1):
        low = max(one[axis] - one[axis + 2] / 2, other[axis] - other[axis + 2] / 2)
        high = min(one[axis] + one[axis + 2] / 2, other[axis] + other[axis + 2] / 2)
        shared *= max(0.0, high - low)
    return shared / max(min(one[2] * one[3], other[2] * other[3]), 1.0)
