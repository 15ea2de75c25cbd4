"""The calibration file: ranges, what they were found on, and what integers cost per tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from qlvit_edge.errors import CalibrationError

FORMAT: Final = 1
ObserverName = Literal["minmax", "percentile"]


class TensorCalibration(BaseModel):
    """What the observers say about one tensor, in real units.

    Attributes:
        minmax: smallest and largest value.
        percentile: range without the tails.
        sqnr_db: signal to quantisation noise of the integer graph's tensor against the float
            one, in decibels; None where the integer graph has no such tensor.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    minmax: tuple[float, float]
    percentile: tuple[float, float]
    sqnr_db: float | None = None


class Calibration(BaseModel):
    """A calibration file.

    Attributes:
        format: version of this format.
        checkpoint_sha256: the weights it belongs to.
        observer: whose range is used.
        images: relative name → SHA-256 of the file, of the images used.
        unusual: how many of them are not plain 8-bit RGB, by kind.
        views: how each image was shown.
        tensors: by tensor name.
        weights: symmetric int8 scales per output channel, by weight name.
        anchors: largest kept level of each log2 softmax.
        agreement: share of the error images with equal top-1 class in float and integers.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: Literal[1] = FORMAT
    checkpoint_sha256: str
    observer: ObserverName
    images: dict[str, str]
    unusual: dict[str, int] = {}
    views: list[str]
    tensors: dict[str, TensorCalibration]
    weights: dict[str, list[float]]
    anchors: dict[str, int]
    agreement: float | None = None

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the chosen range of every tensor."""
        return {name: getattr(tensor, self.observer) for name, tensor in self.tensors.items()}


def load_calibration(path: Path, checkpoint_sha256: str) -> Calibration:
    """Read a calibration file and check that it belongs to a checkpoint.

    Raises:
        CalibrationError: missing, damaged, of another version, or of another checkpoint.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CalibrationError(
            path, "is missing", f"run `qlvit-edge calibrate {path.parent}` first"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CalibrationError(path, f"is not JSON ({error})", "calibrate again") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise CalibrationError(
            path, f"has format {version!r}, this version reads {FORMAT}", "calibrate again"
        )
    try:
        calibration = Calibration.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CalibrationError(path, f"{where}: {first['msg']}", "calibrate again") from None
    if calibration.checkpoint_sha256 != checkpoint_sha256:
        raise CalibrationError(
            path,
            "was made from another checkpoint "
            f"({calibration.checkpoint_sha256[:12]}, this one is {checkpoint_sha256[:12]})",
            "calibrate this run again",
        )
    return calibration
