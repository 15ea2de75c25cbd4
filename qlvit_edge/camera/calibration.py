"""What was found out about a camera on its microscope: its light, and its scale.

One TOML file per camera, objective and size of frame. `qlvit-edge camera calibrate` writes it,
`qlvit-edge run … --calibration FILE` loads it, and each run notes its hash and its scale.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from qlvit_edge.camera.flat_field import TERMS, FlatField
from qlvit_edge.camera.settings import Wanted
from qlvit_edge.errors import CalibrationError
from qlvit_edge.files import sha256, write_text
from qlvit_edge.text import plain
from qlvit_edge.tomlfile import first_mistake, hyphenated, read_toml

MOST_FLAT_GAIN = 4.0
"""Light that falls to less than a quarter is not uneven but missing."""

_REMEDY = "write it again with `qlvit-edge camera calibrate`"


def _complete(values: list[float]) -> list[float]:
    if len(values) != len(TERMS):
        raise ValueError(f"needs {len(TERMS)} numbers, not {len(values)}")
    return values


_Number = Annotated[float, Field(ge=-50, le=50, allow_inf_nan=False)]
_Channel = Annotated[list[_Number], AfterValidator(_complete)]
_Side = Annotated[int, Field(ge=32, le=65_535)]
_Text = Annotated[str, Field(max_length=500)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=hyphenated, populate_by_name=True
    )


class Light(_Part):
    """What a blank field showed.

    Attributes:
        date: when, UTC.
        frames: how many frames were taken.
        red: grey value of the brightest place, 0 to 255.
        green: the same.
        blue: the same.
        exposure_us: to lock the camera at, in microseconds; None where it takes no such setting.
        gain: the same.
        red_gain: the same.
        blue_gain: the same.
        flat_red: coefficients of the light's logarithm, see `qlvit_edge.camera.flat_field.fit`.
        flat_green: the same.
        flat_blue: the same.
    """

    date: datetime
    frames: int = Field(ge=1)
    red: float = Field(ge=0, le=255)
    green: float = Field(ge=0, le=255)
    blue: float = Field(ge=0, le=255)
    exposure_us: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    gain: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    red_gain: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    blue_gain: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    flat_red: _Channel
    flat_green: _Channel
    flat_blue: _Channel

    def flat_field(self) -> FlatField:
        """Return the correction of uneven light."""
        return FlatField([self.flat_red, self.flat_green, self.flat_blue])


class PixelScale(_Part):
    """How much of the specimen a pixel shows, and how that is known.

    Attributes:
        date: when it was measured, UTC.
        um_per_pixel: micrometres of the specimen per pixel of a frame.
        uncertainty_percent: standard uncertainty, in percent of it.
        method: by what, in words.
        measured: lines of the micrometer, or fields with red cells, that were measured.
        frames: in how many frames.
        objective: as the user calls it; "" where he did not.
    """

    date: datetime
    um_per_pixel: float = Field(gt=1e-4, lt=1e3, allow_inf_nan=False)
    uncertainty_percent: float = Field(ge=0, le=100, allow_inf_nan=False)
    method: _Text
    measured: int = Field(ge=1)
    frames: int = Field(ge=1)
    objective: _Text = ""

    def words(self) -> str:
        """Return the scale with its provenance."""
        through = f", objective {self.objective}" if self.objective else ""
        return (
            f"{self.um_per_pixel:.4g} µm per pixel ± {self.uncertainty_percent:.2g} % "
            f"({self.method}, {self.date:%Y-%m-%d}{through})"
        )


class CameraCalibration(_Part):
    """A calibration file.

    Attributes:
        format: of the file.
        program: what wrote it.
        camera: which camera, see `qlvit_edge.camera.base.Camera`; "" of stored pictures.
        source: the camera as the user named it, without credentials.
        width: of its frames, in pixels.
        height: the same.
        light: None before a blank field was shown.
        scale: None before anything of known size was shown.
    """

    format: Literal[1] = 1
    program: _Text
    camera: _Text
    source: _Text
    width: _Side
    height: _Side
    light: Light | None = None
    scale: PixelScale | None = None

    def wanted(self) -> Wanted:
        """Return what the camera is to be set to."""
        size = self.width, self.height
        light = self.light
        if light is None:
            return Wanted(size)
        gains = None
        if light.red_gain is not None and light.blue_gain is not None:
            gains = light.red_gain, light.blue_gain
        return Wanted(size, None, light.exposure_us, light.gain, gains)

    def require_fit(self, path: Path, identity: str) -> None:
        """Refuse another camera; one that is not known, of stored pictures, is taken.

        Raises:
            CalibrationError: it is another one.
        """
        if identity and self.camera and identity != self.camera:
            raise CalibrationError(
                path,
                f"it is of the camera {self.camera!r}, this is {identity!r}",
                "name the file of this camera, or calibrate it",
            )

    def size_finding(self, width: int, height: int) -> str:
        """Say that a frame has another size; "" where it has not."""
        if (width, height) == (self.width, self.height):
            return ""
        return (
            f"the calibration is for {self.width}x{self.height} pixels, "
            f"the frame has {width}x{height}"
        )


class Loaded:
    """A calibration that was read.

    Attributes:
        path: its file.
        sha256: hash of the file.
        content: what it says.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            CalibrationError: missing, torn, or not what it should be.
        """
        self.path = path
        self.content = read_calibration(path)
        try:
            self.sha256 = sha256(path.read_bytes())
        except OSError as error:  # it went in between
            raise CalibrationError(path, "it cannot be read", "try again") from error

    def stored(self) -> str:
        """Return what a run notes of it, as JSON."""
        said: dict[str, object] = {
            "file": self.path.name,
            "sha256": self.sha256,
            "camera": self.content.camera,
            "flat_field": self.content.light is not None,
        }
        scale = self.content.scale
        if scale is not None:
            said |= {
                "um_per_pixel": scale.um_per_pixel,
                "uncertainty_percent": scale.uncertainty_percent,
                "method": scale.method,
                "measured_on": scale.date.isoformat(),
            }
        return json.dumps(said, ensure_ascii=False)


def read_calibration(path: Path) -> CameraCalibration:
    """Return what a calibration file says.

    Raises:
        CalibrationError: missing, torn, or not what it should be.
    """
    said = read_toml(path, CalibrationError, _REMEDY)
    kinds: dict[str, type[_Part]] = {"light": Light, "scale": PixelScale}

    def fields_at(place: tuple[str, ...]) -> list[str]:
        return list((kinds[place[0]] if place else CameraCalibration).model_fields)

    try:
        found = CameraCalibration.model_validate(said)
    except ValidationError as error:
        raise CalibrationError(path, first_mistake(error, fields_at), _REMEDY) from error
    if found.light is not None and found.light.flat_field().largest() > MOST_FLAT_GAIN:
        finding = "its flat field brightens a place more than four times"
        raise CalibrationError(path, finding, _REMEDY)
    return found


def write_calibration(path: Path, calibration: CameraCalibration) -> None:
    """Write a calibration file, at once and whole.

    Raises:
        CalibrationError: it cannot be written; what was there stays.
    """
    lines = [
        "# What `qlvit-edge camera calibrate` found, for `qlvit-edge run … --calibration FILE`.",
        *_lines(calibration),
    ]
    for name, part in (("light", calibration.light), ("scale", calibration.scale)):
        if part is not None:
            lines += ["", f"[{name}]", *_lines(part)]
    try:
        write_text(path, "\n".join(lines) + "\n")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CalibrationError(
            path, f"it cannot be written ({reason})", "choose another place"
        ) from error


def now() -> datetime:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _lines(part: _Part) -> list[str]:
    """The fields of a part that are there, without its tables, as TOML."""
    values = {name: getattr(part, name) for name in type(part).model_fields}
    return [
        f"{hyphenated(name)} = {_as_toml(value)}"
        for name, value in values.items()
        if value is not None and not isinstance(value, _Part)
    ]


def _as_toml(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(_as_toml(one) for one in value) + "]"
    return repr(value)
