"""The calibration file: ranges, what they were found on, and what integers cost per tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from qlvit_edge.calibration.observers import ObserverName, Range
from qlvit_edge.converters.idioms.scales import NO_ANCHOR, NO_RANGE, look_up
from qlvit_edge.errors import CalibrationError
from qlvit_edge.reading import UnreadableFileError, read_json
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, Checkpoint

FORMAT: Final = 2
TRAINED_FORMAT: Final = 3  # has ranges that were trained, which earlier versions do not know
_READ: Final = (1, FORMAT, TRAINED_FORMAT)


class TensorCalibration(BaseModel):
    """What the observers say about one tensor, in real units.

    Attributes:
        minmax: smallest and largest value.
        percentile: range without the tails.
        mse: range of the smallest expected error; None in a file of format 1, as the next two.
        entropy: range of the smallest divergence.
        moving: average of the images' extremes.
        sqnr_db: signal to quantisation noise of the integer graph's tensor against the float
            one, in decibels; None where the integer graph has no such tensor.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    minmax: Range
    percentile: Range
    mse: Range | None = None
    entropy: Range | None = None
    moving: Range | None = None
    sqnr_db: float | None = None

    @field_validator("minmax", "percentile", "mse", "entropy", "moving")
    @classmethod
    def _in_order(cls, found: Range | None) -> Range | None:
        if found is not None and found[0] > found[1]:
            raise ValueError(f"range from {found[0]:g} to {found[1]:g}")
        return found


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
        anchor_errors: by softmax, the squared error of every anchor from 0 on; empty in a file
            of format 1.
        agreement: share of the error images with equal top-1 class in float and integers.
        trained: ranges that training as integers left, by tensor name; they go before those of
            the observer.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: Literal[1, 2, 3] = FORMAT
    checkpoint_sha256: str
    observer: ObserverName
    images: dict[str, str]
    unusual: dict[str, int] = {}
    views: list[str]
    tensors: dict[str, TensorCalibration]
    weights: dict[str, list[float]]
    anchors: dict[str, int]
    anchor_errors: dict[str, list[float]] = {}
    agreement: float | None = None
    trained: dict[str, Range] = {}

    @field_validator("trained")
    @classmethod
    def _trained_in_order(cls, found: dict[str, Range]) -> dict[str, Range]:
        for name, (low, high) in found.items():
            if low > high:
                raise ValueError(f"{name}: range from {low:g} to {high:g}")
        return found

    @model_validator(mode="after")
    def _has_the_chosen_ranges(self) -> Calibration:
        for name, tensor in self.tensors.items():
            if getattr(tensor, self.observer) is None:
                raise ValueError(f"{name} has no range by {self.observer}")
        return self

    def ranges(self) -> dict[str, Range]:
        """Return the chosen range of every tensor."""
        return {name: self.range(name) for name in self.tensors}

    def errors(self) -> dict[str, float]:
        """Return the signal to noise ratio (dB) of every tensor that has one, in their order."""
        return {
            name: tensor.sqnr_db
            for name, tensor in self.tensors.items()
            if tensor.sqnr_db is not None
        }

    def range(self, name: str) -> Range:
        """See :class:`~qlvit_edge.converters.idioms.scales.Scales`, which this is."""
        if name in self.trained:
            return self.trained[name]
        tensor = look_up(self.tensors, name, NO_RANGE)
        chosen: Range = getattr(tensor, self.observer)
        return chosen

    def anchor(self, name: str) -> int:
        """See :class:`~qlvit_edge.converters.idioms.scales.Scales`."""
        return look_up(self.anchors, name, NO_ANCHOR)


def keep_trained(found: Calibration, checkpoint: Checkpoint) -> Calibration:
    """Give a calibration what training as integers left in the run folder, if it did.

    Its ranges and anchors stay: the weights were trained with them.

    Args:
        found: what observers say of the run.
        checkpoint: the run.

    Raises:
        CalibrationError: the run was trained as integers, and its calibration file is missing or
            damaged.
    """
    if checkpoint.run.quantised is None:
        return found
    path = checkpoint.folder / CALIBRATION_FILE
    if not path.exists():
        raise CalibrationError(
            path,
            "is missing, and with it the ranges that this run was trained with",
            "restore it, or train the run again",
        )
    earlier = load_calibration(path, checkpoint.sha256)
    return found.model_copy(
        update={
            "format": earlier.format,
            "trained": earlier.trained,
            "anchors": earlier.anchors,
        }
    )


def calibration_of(checkpoint: Checkpoint) -> Calibration:
    """Read the calibration file in a checkpoint's folder; see `load_calibration`."""
    return load_calibration(checkpoint.folder / CALIBRATION_FILE, checkpoint.sha256)


def load_calibration(path: Path, checkpoint_sha256: str) -> Calibration:
    """Read a calibration file and check that it belongs to a checkpoint.

    Raises:
        CalibrationError: missing, damaged, of another version, or of another checkpoint.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise CalibrationError(
            path, "is missing", f"run `qlvit-edge calibrate {path.parent}` first"
        ) from None
    except UnreadableFileError as error:
        raise CalibrationError(path, str(error), "calibrate again") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version not in _READ:
        known = " and ".join(map(str, _READ))
        raise CalibrationError(
            path, f"has format {version!r}, this version reads {known}", "calibrate again"
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
