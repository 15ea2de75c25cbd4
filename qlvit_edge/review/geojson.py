"""Cells as GeoJSON detections with QuPath's property names, one file per kept frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qlvit_edge.errors import DataError
from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.crops import new_folder
from qlvit_edge.review.frames import require_kept
from qlvit_edge.review.store import ReviewedRun
from qlvit_edge.text import plain


def write_detections(
    results: Path,
    target: Path,
    seen: list[ReviewedRun],
    leaving: Callable[[], None] = lambda: None,
) -> int:
    """Write a folder of GeoJSON files, named as the kept frames; return how many.

    Boxes are in pixels of the frame; a cell has the class that people gave or, where nobody has,
    the model's, and excluded ones none. ``leaving`` is called when all is written, before it gets
    its name.

    Raises:
        DataError: frames were not kept, there are no cells, or the target is in use.
    """
    frames: dict[str, tuple[ReviewedRun, list[ReviewCell]]] = {}
    for run in seen:
        require_kept(results, run, list(run.cells))
        for cell in run.cells:
            frames.setdefault(Path(str(cell.kept)).stem, (run, []))[1].append(cell)
    if not frames:
        raise DataError(results, "there are no cells", "name another run")
    with new_folder(target) as folder:
        for name, (run, cells) in frames.items():
            said = plain(json.dumps(collection(run, cells), ensure_ascii=False))
            (folder / f"{name}.geojson").write_text(said + "\n", encoding="utf-8")
        leaving()
    return len(frames)


def collection(run: ReviewedRun, cells: list[ReviewCell]) -> dict[str, Any]:
    """Return cells as a GeoJSON feature collection with QuPath's properties."""
    status = run.status.statement()
    return {
        "type": "FeatureCollection",
        "status": status,
        "um_per_pixel": run.run.um_per_pixel,
        "features": [_feature(cell, status) for cell in cells],
    }


def _feature(cell: ReviewCell, status: str) -> dict[str, Any]:
    left, top = cell.x, cell.y
    right, bottom = left + cell.width, top + cell.height
    corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    label = cell.label if cell.decision is None else cell.final
    properties: dict[str, Any] = {
        "objectType": "detection",
        "name": f"cell {cell.id}",
        "measurements": {"probability": cell.probability},
        "metadata": {"status": status, "verdict": cell.verdict, "reason": cell.reason or ""},
    }
    if label is not None:
        properties["classification"] = {"name": label, "color": _colour(label)}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": properties,
    }


def _colour(label: str) -> list[int]:
    """A colour for a class, the same in every file: red, green, blue."""
    return list(hashlib.sha256(label.encode("utf-8", "surrogatepass")).digest()[:3])
