"""Setting a Raspberry Pi camera's exposure and white balance on a blank field, once, and for good.

Automatic exposure and white balance follow the specimen: a field full of cells is made brighter,
a red one bluer. Locked at what makes the empty field nearly white, they do not.
"""

from __future__ import annotations

import numpy as np

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.picamera2 import PiCamera
from qlvit_edge.camera.settings import CameraSettings, Wanted
from qlvit_edge.errors import CameraError

TARGET = 220.0
"""Grey value of the blank field: light enough, and far enough from 255 for what is brighter."""

CLOSE = 3.0
LONGEST_US = 33_000.0
"""Exposure at which 30 frames a second are still possible; from there the gain is raised."""

MOST_GAIN = 8.0
_ROUNDS = 14
_PATIENCE = 40
_GAMMA = 2.2
_SETTLING = 8
"""Frames that the automatics are given before their values are taken for a beginning."""


def set_exposure(camera: PiCamera) -> None:
    """Lock exposure, gain and white balance so that the field before the camera is nearly white.

    Raises:
        CameraError: the lamp is too dark or too bright, or the camera does not obey.
    """
    frames = camera.frames()
    frame = next(frames)
    for _ in range(_SETTLING):
        frame = next(frames)
    said = frame.settings
    if said.exposure_us is None or said.red_gain is None or said.blue_gain is None:
        finding = "it does not tell its exposure and white balance"
        raise CameraError(camera.name, finding, "calibrate its flat field only: --keep-exposure")
    light = said.exposure_us * (said.gain or 1.0)
    red, blue = said.red_gain, said.blue_gain
    for _ in range(_ROUNDS):
        exposure = min(light, LONGEST_US)
        wanted = Wanted(
            exposure_us=round(exposure),
            gain=round(max(1.0, light / exposure), 3),
            colour_gains=(round(red, 3), round(blue, 3)),
        )
        frame = _obeyed(camera, wanted)
        levels = _levels(frame)
        if abs(levels[1] - TARGET) <= CLOSE and np.ptp(levels) <= CLOSE:
            return
        brighter = [
            0.5 if level >= 250 else (TARGET / max(level, 8.0)) ** _GAMMA for level in levels
        ]
        light *= brighter[1]
        red *= min(2.0, max(0.5, brighter[0] / brighter[1]))
        blue *= min(2.0, max(0.5, brighter[2] / brighter[1]))
        if light > LONGEST_US * MOST_GAIN:
            finding = f"the field is too dark: {levels[1]:.0f} of 255 at the longest exposure"
            raise CameraError(camera.name, finding, "turn the lamp up and try again")
    said_levels = ", ".join(f"{level:.0f}" for level in levels)
    raise CameraError(
        camera.name,
        f"exposure and white balance do not settle (red, green, blue are {said_levels})",
        "keep the lamp and the stage still, and try again",
    )


def _obeyed(camera: PiCamera, wanted: Wanted) -> Frame:
    """Ask for settings, and return the first frame that was taken with them."""
    camera.adjust(wanted)
    frames = camera.frames()
    for _ in range(_PATIENCE):
        frame = next(frames)
        if _is_near(frame.settings, wanted):
            return frame
    raise CameraError(
        camera.name,
        f"it does not take its settings; they are {frame.settings.words()}",
        "calibrate its flat field only: --keep-exposure",
    )


def _is_near(said: CameraSettings, wanted: Wanted) -> bool:
    """Whether settings are those asked for; a sensor has its own steps."""
    red, blue = wanted.colour_gains or (None, None)
    pairs = (
        (said.exposure_us, wanted.exposure_us),
        (said.gain, wanted.gain),
        (said.red_gain, red),
        (said.blue_gain, blue),
    )
    return all(
        one is not None and other is not None and abs(one / other - 1) < 0.03
        for one, other in pairs
    )


def _levels(frame: Frame) -> list[float]:
    """The median of each colour in the middle of the frame."""
    height, width = frame.image.shape[:2]
    middle = frame.image[height // 4 : -(height // 4), width // 4 : -(width // 4)]
    return [float(np.median(middle[..., channel])) for channel in range(3)]
