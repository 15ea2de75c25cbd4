"""What of the slide was seen, and how well: what a mini-map shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

TileState = Literal["counted", "out of focus", "too fast"]
"""How well a piece of the slide was seen; the best that any frame gave.

- counted: in a sharp frame whose place is known;
- out of focus: only in frames that are not as sharp as usual;
- too fast: the same, while the stage moved by more than `FAST` of a frame per frame.
"""

FrameState = Literal["counted", "out of focus", "too fast", "blank", "lost"]
"""What became of one frame: as its tiles, or it has no place.

- blank: too little is in it to recognise its place;
- lost: it fits nowhere and is not sharp enough to begin an island.
"""

FAST: Final = 0.06
"""Share of the frame by which the stage moves from one frame to the next when it is too fast."""

TILES_PER_SIDE: Final = 8
"""Tiles along a frame's short side."""

_ORDER: Final[tuple[TileState, ...]] = ("too fast", "out of focus", "counted")


@dataclass(frozen=True)
class Tile:
    """A square piece of an island.

    Attributes:
        column: counted to the right from the island's origin, may be negative.
        row: counted downwards.
        state: how well it was seen.
    """

    column: int
    row: int
    state: TileState


@dataclass(frozen=True)
class IslandMap:
    """An island as it is drawn.

    Attributes:
        number: of the island.
        doubtful: whether its cells may be others' as well.
        tile: side of a tile in frame pixels.
        tiles: what was seen.
        cells: (number, x, y, doubtful) of each cell: its centre in frame pixels.
        frame: (x, y, width, height) of the last frame, if it lies here.
        track: (x, y) of the centres of views that were kept, in their order.
    """

    number: int
    doubtful: bool
    tile: float
    tiles: list[Tile]
    cells: list[tuple[int, float, float, bool]]
    frame: tuple[float, float, float, float] | None
    track: list[tuple[float, float]]


class Tiles:
    """The tiles of all islands; grows with what was seen, not with how long.

    Attributes:
        side: of a tile, in frame pixels; 0 before the first frame.
        frames: frames by what became of them.
    """

    def __init__(self) -> None:
        self.side = 0.0
        self.frames: Counter[str] = Counter()
        self._states: dict[int, dict[tuple[int, int], int]] = {}

    def mark(
        self, island: int, corner: tuple[float, float], size: tuple[int, int], state: TileState
    ) -> None:
        """Note a frame: all tiles whose centre it shows."""
        if not self.side:
            self.side = max(1.0, min(size) / TILES_PER_SIDE)
        states, worth = self._states.setdefault(island, {}), _ORDER.index(state)
        columns, rows = (
            range(
                round(corner[axis] / self.side),
                round((corner[axis] + size[axis]) / self.side),
            )
            for axis in (0, 1)
        )
        for row in rows:
            for column in columns:
                states[column, row] = max(worth, states.get((column, row), 0))

    def move(self, joined: int, into: int, offset: tuple[float, float]) -> None:
        """Put an island's tiles into another's, moved by frame pixels."""
        states = self._states.setdefault(into, {})
        across, down = (round(value / self.side) for value in offset)
        for (column, row), worth in self._states.pop(joined, {}).items():
            place = column + across, row + down
            states[place] = max(worth, states.get(place, 0))

    def of(self, island: int) -> list[Tile]:
        """Return an island's tiles."""
        return [
            Tile(column, row, _ORDER[worth])
            for (column, row), worth in sorted(self._states.get(island, {}).items())
        ]
