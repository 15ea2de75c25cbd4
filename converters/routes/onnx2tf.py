"""The stock path: ONNX, onnx2tf, TensorFlow; every file held against PyTorch's logits.

The files are the other tools' work; `verdict` says whether they compute the network.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge import bundled
from qlvit_edge.converters.idioms.scales import CalibratedScales
from qlvit_edge.converters.routes import onnx2tf_worker
from qlvit_edge.converters.routes.closeness import (
    FLOAT16,
    FLOAT32,
    QUANTISED,
    Bound,
)
from qlvit_edge.converters.routes.environment import TimeLimitError, run_limited
from qlvit_edge.converters.routes.onnx import export_onnx
from qlvit_edge.converters.routes.verdict import RouteFile
from qlvit_edge.data.folder import scan
from qlvit_edge.errors import ConversionError, ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.preprocess import load
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, Checkpoint

TIME_LIMIT = 1800.0
"""Seconds that onnx2tf and TensorFlow may take."""
BOUNDS: dict[str, Bound] = {
    "float32": FLOAT32,
    "float16": FLOAT16,
    "dynamic-range": QUANTISED,
    "full-integer": QUANTISED,
}
_QUOTED_LINES = 3


def calibration_views(
    checkpoint: Checkpoint, calibration: Callable[[], CalibratedScales], data: Path | None
) -> tuple[NDArray[np.uint8], str]:
    """Load the images that the run was calibrated with, whole; or the bundled crops.

    Args:
        checkpoint: the run.
        calibration: loads its calibration, which names images by content; not asked if there is
            none.
        data: where they are; default: where the run's data was.

    Returns:
        (N, H, W, channels) uint8, and where they are from, in words.

    Raises:
        CalibrationError: the calibration file is damaged or of another checkpoint.
        DataError: an image does not decode.
    """
    root = data or Path(checkpoint.run.data)
    path = checkpoint.folder / CALIBRATION_FILE
    network = checkpoint.run.network
    paths: list[Path] = []
    if path.is_file():
        recorded = calibration().images
        paths = [
            root / name
            for name, digest in recorded.items()
            if (root / name).is_file() and sha256((root / name).read_bytes()) == digest
        ]
    origin = f"{len(paths)} images of the run's calibration"
    if not paths:
        paths = [image.path for image in scan(bundled.CROPS).images]
        origin = f"the {len(paths)} bundled crops"
    views = [load(path, network.input_size, network.channels) for path in paths]
    return np.stack(views), origin


def make_files(
    checkpoint: Checkpoint, python: Path, views: NDArray[np.uint8], log: Path
) -> dict[str, RouteFile]:
    """Let onnx2tf and TensorFlow make the files of a checkpoint, see `files_of_onnx`."""
    network = export_onnx(checkpoint, unpadded_pooling=True, with_metadata=False)
    return files_of_onnx(network, python, views, log)


def files_of_onnx(
    network: bytes,
    python: Path,
    views: NDArray[np.uint8],
    log: Path,
    formats: Sequence[str] = tuple(BOUNDS),
) -> dict[str, RouteFile]:
    """Let onnx2tf and TensorFlow make files, in a folder that is gone afterwards.

    Args:
        network: the ONNX file.
        python: of the other environment, see `environment.find_python`.
        views: (N, H, W, channels) uint8 images for the full-integer file's ranges.
        log: where what they print is kept if they fail.
        formats: some of `BOUNDS`.

    Raises:
        ConversionError: they failed or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="qlvit-edge-onnx2tf-") as name:
        folder = Path(name)
        (folder / "network.onnx").write_bytes(network)
        np.save(folder / "calibration.npy", views.astype(np.float32))
        # onnx2tf wants sample images for its layout check and would fetch them from the
        # network: it looks for this name in its working folder first.
        sample = np.repeat(views[:1], 3 // views.shape[3], axis=3) / np.float32(255)
        np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", sample)
        own_log = folder / "log"
        arguments = [onnx2tf_worker.__file__, "network.onnx", "calibration.npy"]
        arguments += [] if tuple(formats) == tuple(BOUNDS) else formats
        try:
            code = run_limited(python, arguments, folder, own_log, TIME_LIMIT)
            finding = f"onnx2tf failed (exit code {code})"
        except TimeLimitError:
            code, finding = 1, f"onnx2tf did not end within {TIME_LIMIT:.0f} s"
        try:
            result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            made = {name: _route_file(folder, name, result["formats"][name]) for name in formats}
        except (OSError, ValueError, KeyError, TypeError):
            code, made = code or 1, {}
        if code:
            raise _failure(finding, own_log, log)
        return made


def _route_file(folder: Path, name: str, entry: dict[str, Any]) -> RouteFile:
    error, seconds = entry["error"], float(entry["seconds"])
    if error is not None:
        return RouteFile(None, seconds, " ".join(str(error).split())[:300])
    try:
        return RouteFile(read_bytes(folder / f"{name}.tflite"), seconds, None)
    except ModelFileError as refused:
        return RouteFile(None, seconds, str(refused))


def _failure(finding: str, own_log: Path, log: Path) -> ConversionError:
    lines = own_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    printable = ["".join(c for c in line if c.isprintable()).strip() for line in lines]
    last = " | ".join([line for line in printable if line][-_QUOTED_LINES:])
    shutil.copyfile(own_log, log)
    return ConversionError(
        "route onnx2tf", f"{finding}: {last[-500:] or 'it printed nothing'}", f"the log is {log}"
    )
