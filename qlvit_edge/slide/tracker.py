"""From frames and their cells to the cells of the slide.

Each frame gets a place, or none. Where it is sure how a frame lies to a view that was kept, it
lies on that view's island; where it is not sure, a sharp frame begins an island, and an island
that is found again is joined. The island with the most cells is counted as sure; what lies on the
others may lie on that one too, and is doubtful.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.finder import Cell
from qlvit_edge.slide.atlas import Atlas
from qlvit_edge.slide.correlation import Spectra
from qlvit_edge.slide.link import Link, link
from qlvit_edge.slide.minimap import FAST, FrameState, IslandMap, Tiles, TileState
from qlvit_edge.slide.placement import Count, Placement
from qlvit_edge.slide.quality import Answer, qualities_of
from qlvit_edge.slide.register import Register
from qlvit_edge.slide.view import view_of

KEEP_BELOW = 0.55
"""Share of a frame that a kept view must cover, or the frame is kept as well."""

STRONG_HEIGHT, STRONG_PAIRS = 0.65, 5
"""What a link needs where nothing says that the frame should lie there."""

LOOKS_LOST, LOOKS_IN_PASSING = 30, 4
"""Kept views that one frame is held against in search of its place: without one, and to join."""

SMOOTH: Final = 0.25
"""Sharpness of what is all smooth, see `qlvit_edge.slide.view.View`."""

AS_SHARP = 0.6
"""Share of the usual sharpness above `SMOOTH` from which a frame is sharp."""

REMEMBERED = 64
"""Frames that tell the usual sharpness."""


@dataclass
class _Place:
    """A frame's place: by which kept view, and where."""

    kept: int
    link: Link
    corner: tuple[float, float] = field(default=(0.0, 0.0))


class SlideTracker:
    """Counts the cells of frames once; its methods may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._atlas = Atlas()
        self._register = Register(self._atlas)
        self._tiles = Tiles()
        self._unplaced = 0
        self._begun = 0
        self._current: int | None = None
        self._last: tuple[int, tuple[float, float], tuple[int, int]] | None = None
        self._usual: deque[float] = deque(maxlen=REMEMBERED)
        self._turn = 0

    def add(
        self, image: NDArray[np.uint8], cells: Sequence[Cell], answers: Sequence[Answer]
    ) -> Placement:
        """Place a frame and note its cells.

        Args:
            image: (H, W, 3) uint8 RGB.
            cells: what was found in it.
            answers: what was said about each.

        Raises:
            ValueError: not one answer per cell.
        """
        if len(cells) != len(answers):
            raise ValueError(f"{len(cells)} cells but {len(answers)} answers")
        view = view_of(image)
        with self._lock:
            sharp = self._is_sharp(view.sharpness)
            if view.blank:
                return self._without(cells, "blank")
            spectra = Spectra(view)
            self._usual.append(view.sharpness)
            place = self._placed(spectra)
            merged: list[tuple[int, int]] = []
            joined: list[tuple[int, int, float, float]] = []
            if place is None:
                if not sharp:
                    return self._without(cells, "lost")
                anchor, corner = self._begin(spectra), (0.0, 0.0)
            else:
                anchor, corner = self._anchored(spectra, place, sharp, merged)
            island = self._atlas.kept[anchor].island
            fast = self._is_fast(island, corner, view.size)
            state: TileState = "counted" if sharp else "too fast" if fast else "out of focus"
            qualities = qualities_of(image, cells, answers, sharp)
            found = list(zip(cells, answers, qualities, strict=True))
            numbers, again = self._register.place(anchor, corner, found, sharp)
            merged += again
            self._tiles.mark(island, corner, view.size, state)
            self._tiles.frames[state] += 1
            self._current, self._last = anchor, (island, corner, view.size)
            self._join_in_passing(spectra, anchor, corner, merged, joined)
            island, corner, _ = self._last
            stays = dict(merged)
            return Placement(
                state,
                island,
                *corner,
                tuple(_root(stays, number) for number in numbers),
                tuple(qualities),
                tuple(merged),
                tuple(joined),
            )

    def count(self) -> Count:
        """Return the count so far."""
        with self._lock:
            doubtful = self.doubtful_cells()
            whole = [cell for cell in self._register.cells.values() if cell.whole]
            return Count(
                unique=len(whole),
                doubtful=sum(cell.number in doubtful for cell in whole),
                in_part=len(self._register.cells) - len(whole),
                unplaced=self._unplaced,
                labels=dict(Counter(cell.answer.label for cell in whole)),
                verdicts=dict(Counter(cell.answer.verdict for cell in whole)),
                islands=len(set(self._atlas.islands.tolist())),
                frames=dict(self._tiles.frames),
            )

    def islands(self) -> list[IslandMap]:
        """Return what a mini-map shows, the sure island first."""
        with self._lock:
            sure, doubtful = self._sure(), self.doubtful_cells()
            numbers = set(self._atlas.islands.tolist())
            numbered = sorted(numbers, key=lambda n: (n != sure, n))
            return [self._drawn(number, sure, doubtful) for number in numbered]

    def accepted(self) -> Counter[str]:
        """Return the whole cells that were accepted and are not doubtful, by class."""
        with self._lock:
            doubtful = self.doubtful_cells()
            return Counter(
                cell.answer.label
                for cell in self._register.cells.values()
                if cell.whole and cell.answer.verdict == "accepted" and cell.number not in doubtful
            )

    def in_part(self) -> set[int]:
        """Return the numbers of the cells that were only seen cut by the frame's edge."""
        with self._lock:
            cells = self._register.cells.values()
            return {cell.number for cell in cells if not cell.whole}

    def doubtful_cells(self) -> set[int]:
        """Return the numbers of the unique cells that are doubtful."""
        with self._lock:
            return self._register.doubtful(self._sure())

    def _drawn(self, island: int, sure: int, doubtful: set[int]) -> IslandMap:
        register, last = self._register, self._last
        cells = [
            (cell.number, *register.centre(cell), cell.number in doubtful)
            for cell in register.cells.values()
            if register.island(cell) == island and cell.whole
        ]
        members = np.flatnonzero(self._atlas.islands == island)
        track = [
            (float(x) + self._atlas.kept[n].size[0] / 2, float(y) + self._atlas.kept[n].size[1] / 2)
            for n, (x, y) in zip(members, self._atlas.places[members], strict=True)
        ]
        frame = (*last[1], *last[2]) if last and last[0] == island else None
        tiles = self._tiles.of(island)
        return IslandMap(island, island != sure, self._tiles.side, tiles, cells, frame, track)

    def _sure(self) -> int:
        """The island with the most cells; of equals the first."""
        counts = Counter(
            self._register.island(cell) for cell in self._register.cells.values() if cell.whole
        )
        return min(counts, key=lambda island: (-counts[island], island), default=1)

    def _is_sharp(self, sharpness: float) -> bool:
        if not self._usual:
            return True
        usual = float(np.percentile(self._usual, 75))
        return sharpness - SMOOTH >= AS_SHARP * (usual - SMOOTH)

    def _is_fast(self, island: int, corner: tuple[float, float], size: tuple[int, int]) -> bool:
        if self._last is None or self._last[0] != island:
            return False
        apart = np.abs(np.subtract(corner, self._last[1])) / size
        return bool(apart.max() > FAST)

    def _without(self, cells: Sequence[Cell], state: FrameState) -> Placement:
        self._unplaced += len(cells)
        self._tiles.frames[state] += 1
        return Placement(state, None, 0.0, 0.0, (None,) * len(cells))

    def _begin(self, spectra: Spectra) -> int:
        self._begun += 1
        return self._atlas.keep(spectra.view, self._begun, 0.0, 0.0)

    def _placed(self, spectra: Spectra) -> _Place | None:
        """Find a frame's place: by the last view, by those around, by any other."""
        tried: list[int] = []
        if self._current is not None and self._last is not None:
            tried = [self._current]
            island, corner, size = self._last
            around = self._atlas.overlapping(island, *corner, size)[:4]
            tried += [int(number) for number in around if number != self._current]
        for number in tried:
            if (place := self._by(number, spectra)) is not None:
                return place
        for number in self._others(LOOKS_LOST, set(tried)):
            place = self._by(number, spectra)
            if place is not None and _strong(place.link):
                return place
        return None

    def _by(self, number: int, spectra: Spectra) -> _Place | None:
        """A frame's place by one kept view, if that is sure."""
        kept, known = self._atlas.kept[number], self._atlas.spectra(number)
        if known is None:
            return None
        found = link(known, spectra)
        if found is None:
            return None
        self._atlas.used(number)
        x, y = self._atlas.places[number]
        corner = float(x) + found.x * kept.scale, float(y) + found.y * kept.scale
        return _Place(number, found, corner)

    def _others(self, most: int, tried: set[int], island: int | None = None) -> list[int]:
        """Kept views to look at in turn, not on ``island``."""
        every = [
            number
            for number in self._atlas.pictured()
            if number not in tried and self._atlas.kept[number].island != island
        ]
        if len(every) > most:
            begin = self._turn % len(every)
            self._turn += most
            every = (every[begin:] + every[:begin])[:most]
        return every

    def _anchored(
        self, spectra: Spectra, place: _Place, sharp: bool, merged: list[tuple[int, int]]
    ) -> tuple[int, tuple[float, float]]:
        """The kept view that a frame is noted by, and its place; ties views that it connects."""
        atlas, view = self._atlas, spectra.view
        if atlas.share(place.kept, *place.corner) >= KEEP_BELOW:
            return place.kept, place.corner
        island = atlas.kept[place.kept].island
        around = [
            int(number)
            for number in atlas.overlapping(island, *place.corner, view.size)[:4]
            if number != place.kept
        ]
        found = [other for n in around if (other := self._by(n, spectra)) is not None]
        contradicted = False
        for other in found:
            here = np.subtract(other.corner, atlas.places[other.kept])
            there = np.subtract(place.corner, atlas.places[place.kept])
            fits = atlas.tie(place.kept, other.kept, *map(float, there - here))
            contradicted |= not fits
            if fits:
                x, y = atlas.places[place.kept] + there
                place.corner = float(x), float(y)
        best = max(found, key=lambda other: atlas.share(other.kept, *other.corner), default=None)
        if best is not None and not contradicted:
            merged += self._register.merge_around([best.kept, place.kept])
            if atlas.share(best.kept, *best.corner) >= KEEP_BELOW:
                offset = best.link.x * view.scale, best.link.y * view.scale
                x, y = atlas.places[best.kept] + offset
                return best.kept, (float(x), float(y))
        if not sharp:
            return place.kept, place.corner
        number = atlas.keep(view, island, *place.corner)
        atlas.kept[number].doubtful = contradicted or atlas.kept[place.kept].doubtful
        for other in (place, *found):
            offset = other.link.x * view.scale, other.link.y * view.scale
            atlas.tie(other.kept, number, *offset)
        x, y = atlas.places[number]
        return number, (float(x), float(y))

    def _join_in_passing(
        self,
        spectra: Spectra,
        anchor: int,
        corner: tuple[float, float],
        merged: list[tuple[int, int]],
        joined: list[tuple[int, int, float, float]],
    ) -> None:
        """Look for the frame on other islands too, and join the one on which it is found."""
        atlas = self._atlas
        island = atlas.kept[anchor].island
        for number in self._others(LOOKS_IN_PASSING, {anchor}, island):
            place = self._by(number, spectra)
            if place is None or not _strong(place.link):
                continue
            other = atlas.kept[number].island
            here = np.subtract(corner, atlas.places[anchor])
            there = np.subtract(place.corner, atlas.places[number])
            stays, goes = min(island, other), max(island, other)
            members = np.flatnonzero(atlas.islands == goes)
            old = atlas.places[members[0]].copy()
            if island == goes:
                atlas.join(stays, goes, number, anchor, *map(float, there - here))
            else:
                atlas.join(stays, goes, anchor, number, *map(float, here - there))
            x, y = (float(value) for value in atlas.places[members[0]] - old)
            self._tiles.move(goes, stays, (x, y))
            joined.append((goes, stays, x, y))
            merged += self._register.merge_around(map(int, members))
            left, top = (float(v) for v in atlas.places[anchor] + here)
            self._last = (stays, (left, top), spectra.view.size)
            return


def _strong(found: Link) -> bool:
    return found.height >= STRONG_HEIGHT and found.pairs >= STRONG_PAIRS


def _root(stays: dict[int, int], number: int) -> int:
    while number in stays:
        number = stays[number]
    return number
