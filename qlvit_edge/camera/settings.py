"""What a camera was set to when it took a frame, and what a user may set."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class CameraSettings:
    """A camera's settings; None where it does not tell.

    Attributes:
        exposure_us: time of exposure in microseconds.
        gain: amplification of all colours, 1 for none; of USB cameras the driver's own number.
        red_gain: amplification of red relative to green: with ``blue_gain`` the white balance.
        blue_gain: amplification of blue relative to green.
        colour_temperature: of the white balance, in kelvin.
        automatic: whether the camera itself still changes exposure or white balance.
    """

    exposure_us: float | None = None
    gain: float | None = None
    red_gain: float | None = None
    blue_gain: float | None = None
    colour_temperature: float | None = None
    automatic: bool | None = None

    def stored(self) -> dict[str, float | bool]:
        """Return what is known, by name, for JSON."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) is not None
        }

    def words(self) -> str:
        """Return what is known in words; "not told by the camera" where nothing is."""
        parts = []
        if self.exposure_us is not None:
            parts.append(f"exposure {self.exposure_us / 1000:.4g} ms")
        if self.gain is not None:
            parts.append(f"gain {self.gain:.3g}")
        if self.red_gain is not None and self.blue_gain is not None:
            parts.append(f"red {self.red_gain:.3g} and blue {self.blue_gain:.3g} to green 1")
        if self.colour_temperature is not None:
            parts.append(f"white balance {self.colour_temperature:.0f} K")
        if self.automatic is not None:
            parts.append("automatic" if self.automatic else "locked")
        return ", ".join(parts) or "not told by the camera"


UNKNOWN_SETTINGS = CameraSettings()


@dataclass(frozen=True)
class Wanted:
    """What a user, or a calibration, asks of a camera; None leaves it to the camera.

    Attributes:
        size: (width, height) of the frames in pixels.
        small: (width, height) of the low-resolution stream.
        exposure_us: locks the exposure, in microseconds.
        gain: locks the gain.
        colour_gains: locks the white balance: red and blue relative to green.
    """

    size: tuple[int, int] | None = None
    small: tuple[int, int] | None = None
    exposure_us: float | None = None
    gain: float | None = None
    colour_gains: tuple[float, float] | None = None
