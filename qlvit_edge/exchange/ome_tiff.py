"""Kept frames as OME-TIFF, one file per frame, beside the GeoJSON detections of the same name.

Only one frame is in memory at a time. The length of a pixel is in it where it is known; where it
is not there is none, and a reader shows pixels.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError, MissingExtraError
from qlvit_edge.review.crops import new_folder
from qlvit_edge.review.frames import frames_with_cells, require_kept
from qlvit_edge.review.geojson import collection
from qlvit_edge.review.store import ReviewedRun
from qlvit_edge.text import RESEARCH_ONLY, plain


def write_fields(
    results: Path,
    target: Path,
    seen: list[ReviewedRun],
    leaving: Callable[[], None] = lambda: None,
) -> int:
    """Write a folder of OME-TIFF and GeoJSON files, named as the kept frames; return how many.

    ``leaving`` is called when all is written, before it gets its name.

    Raises:
        MissingExtraError: tifffile is not installed.
        DataError: frames were not kept, there are no cells, or the target is in use.
    """
    tifffile = _tifffile()
    for run in seen:
        require_kept(results, run, list(run.cells))
    if not any(run.cells for run in seen):
        raise DataError(results, "there are no cells", "name another run")
    frames = 0
    with new_folder(target) as folder:
        for run in seen:
            for path, image, cells in frames_with_cells(results, list(run.cells)):
                _write(tifffile, folder / f"{path.stem}.ome.tif", image, run, cells[0].taken)
                said = plain(json.dumps(collection(run, cells), ensure_ascii=False))
                (folder / f"{path.stem}.geojson").write_text(said + "\n", encoding="utf-8")
                frames += 1
        leaving()
    return frames


def _write(
    tifffile: Any, path: Path, image: NDArray[np.uint8], run: ReviewedRun, taken: float
) -> None:
    """Write a frame, (H, W, 3) uint8 RGB, packed without loss in strips of 256 rows."""
    metadata: dict[str, Any] = {
        "axes": "YXS",
        "Name": path.name.removesuffix(".ome.tif"),
        "Description": description(run),
    }
    acquired = _acquired(taken)
    if acquired is not None:
        metadata["AcquisitionDate"] = acquired
    scale = run.run.um_per_pixel
    resolution: dict[str, Any] = {}
    if scale is not None:
        for axis in ("X", "Y"):
            metadata[f"PhysicalSize{axis}"] = scale
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
        resolution = {"resolution": (1e4 / scale, 1e4 / scale), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(
        path,
        image,
        ome=True,
        photometric="rgb",
        compression="zlib",
        rowsperstrip=256,
        metadata=metadata,
        **resolution,
    )


def description(run: ReviewedRun) -> str:
    """Say what a frame is of, and what the answers on it are worth."""
    row = run.run
    said = [RESEARCH_ONLY, run.status.statement()]
    said += [f"sample {row.sample}"] if row.sample is not None else []
    said += [f"run {row.run} of {row.program}", f"model {row.model}, SHA-256 {row.model_sha256}"]
    return plain("; ".join(said))


def _acquired(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return None


def _tifffile() -> Any:
    try:
        return importlib.import_module("tifffile")
    except ImportError:
        finding = "needs tifffile, which is not installed"
        raise MissingExtraError(
            "--format ome-tiff", finding, "pip install 'qlvit-edge[ome]'"
        ) from None
