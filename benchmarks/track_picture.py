"""Makes docs/pictures/track.svg: a track over the bundled fields, as counting once sees it.

python benchmarks/track_picture.py docs/pictures/track.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

import qlvit_edge.bundled
from qlvit_edge.camera.stage import StageCamera
from qlvit_edge.fields.finder import find_cells
from qlvit_edge.slide.minimap import IslandMap
from qlvit_edge.slide.quality import Answer
from qlvit_edge.slide.tracker import SlideTracker

FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
FRAMES, SEED, SIZE = 160, 6, (480, 360)
COLOURS = {"counted": "#cfe3f5", "out of focus": "#f3e3b3", "too fast": "#f3c6b8"}
ZOOM = 0.4


def tracked() -> list[IslandMap]:
    """Walk over the slide of the bundled fields."""
    camera = StageCamera(FIELDS, seed=SEED, fps=0, size=SIZE)
    tracker = SlideTracker()
    for index in range(FRAMES):
        image, _ = camera.view(index)
        cells = find_cells(image)
        tracker.add(image, cells, [Answer("cell", "accepted")] * len(cells))
    print(tracker.count())
    return tracker.islands()


def drawn(island: IslandMap) -> str:
    """Draw an island: its tiles, the middles of the kept views, the cells."""
    left = min(tile.column for tile in island.tiles) * island.tile
    top = min(tile.row for tile in island.tiles) * island.tile
    right = (max(tile.column for tile in island.tiles) + 1) * island.tile
    bottom = (max(tile.row for tile in island.tiles) + 1) * island.tile
    side = island.tile * ZOOM

    def at(x: float, y: float) -> tuple[float, float]:
        return round((x - left) * ZOOM, 1), round((y - top) * ZOOM, 1)

    width, height = at(right, bottom)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">']
    for tile in island.tiles:
        x, y = at(tile.column * island.tile, tile.row * island.tile)
        parts.append(
            f'<rect x="{x}" y="{y}" width="{side:.1f}" height="{side:.1f}" '
            f'fill="{COLOURS[tile.state]}"/>'
        )
    places = [at(x, y) for x, y in island.track]
    line = " ".join(f"{x},{y}" for x, y in places)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#5b7f9f" stroke-width="1.5"/>')
    parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="#5b7f9f"/>' for x, y in places]
    for _, x, y, doubtful in island.cells:
        cx, cy = at(x, y)
        fill = "none" if doubtful else "#7a2e8e"
        parts.append(
            f'<circle cx="{cx}" cy="{cy}" r="9" fill="{fill}" stroke="#7a2e8e" stroke-width="2"/>'
        )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    cv2.setNumThreads(1)
    Path(sys.argv[1]).write_text(drawn(tracked()[0]), encoding="utf-8")
