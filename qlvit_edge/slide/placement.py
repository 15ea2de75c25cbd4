"""What counting once says of a frame, and of the whole slide."""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.slide.minimap import FrameState


@dataclass(frozen=True)
class Placement:
    """What became of one frame.

    Attributes:
        state: see `qlvit_edge.slide.minimap.FrameState`.
        island: on which it lies; None without a place.
        x: left edge in its island, in frame pixels.
        y: upper edge.
        numbers: of its cells, in their order; None each without a place.
        qualities: how good the view of each is, see `qlvit_edge.slide.quality.quality_of`; none
            without a place.
        merged: (number given up, number that stays): cells that were found to be one.
        joined: (island given up, island that stays, x, y): what its places are moved by.
    """

    state: FrameState
    island: int | None
    x: float
    y: float
    numbers: tuple[int | None, ...]
    qualities: tuple[float, ...] = ()
    merged: tuple[tuple[int, int], ...] = ()
    joined: tuple[tuple[int, int, float, float], ...] = ()


@dataclass(frozen=True)
class Count:
    """The cells of a slide, each once.

    Attributes:
        unique: cells that a placed frame has shown whole.
        doubtful: those of them that may be others of them, or none.
        in_part: cells that were only seen cut by the frame's edge; not in ``unique``.
        unplaced: findings in frames without a place, which are not counted.
        labels: unique cells by class.
        verdicts: unique cells by verdict.
        islands: pieces of the slide that nothing connects.
        frames: frames by what became of them.
    """

    unique: int
    doubtful: int
    in_part: int
    unplaced: int
    labels: dict[str, int]
    verdicts: dict[str, int]
    islands: int
    frames: dict[str, int]
