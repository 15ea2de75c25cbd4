"""The slide as the page draws it: tiles in rows, so that a large one is a small message."""

from __future__ import annotations

from dataclasses import asdict

from qlvit_edge.slide.minimap import IslandMap, Tile
from qlvit_edge.slide.tracker import SlideTracker


def map_of(tracker: SlideTracker) -> dict[str, object]:
    """Return the count and the islands, the sure one first, for JSON.

    Lengths are in pixels of the frame. Tiles that lie side by side and were seen equally well are
    one entry (row, first column, how many).
    """
    return {
        "count": asdict(tracker.count()),
        "islands": [_island(island) for island in tracker.islands()],
    }


def _island(island: IslandMap) -> dict[str, object]:
    return {
        "number": island.number,
        "doubtful": island.doubtful,
        "tile": island.tile,
        "tiles": rows_of(island.tiles),
        "cells": [[round(x), round(y), int(doubtful)] for _, x, y, doubtful in island.cells],
        "frame": None if island.frame is None else [round(value) for value in island.frame],
        "track": [[round(x), round(y)] for x, y in island.track],
    }


def rows_of(tiles: list[Tile]) -> dict[str, list[list[int]]]:
    """Return (row, first column, how many) of tiles side by side, by their state."""
    found: dict[str, list[list[int]]] = {}
    for tile in sorted(tiles, key=lambda tile: (tile.row, tile.column)):
        rows = found.setdefault(tile.state, [])
        if rows and rows[-1][0] == tile.row and sum(rows[-1][1:]) == tile.column:
            rows[-1][2] += 1
        else:
            rows.append([tile.row, tile.column, 1])
    return found
