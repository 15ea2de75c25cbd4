"""Finding out about a camera on its microscope: from a blank field, and from a thing of known size.

Each procedure takes a few frames, judges whether they show what they should, and refuses what
they do not: a calibration that looks right and is not would spoil every result after it.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Camera, Frame
from qlvit_edge.camera.calibration import Light, PixelScale, now
from qlvit_edge.camera.flat_field import BLOCKS, FlatField, fit
from qlvit_edge.camera.settings import UNKNOWN_SETTINGS
from qlvit_edge.errors import CameraError
from qlvit_edge.fields.finder import measured_scale
from qlvit_edge.fields.micrometer import Lines, NoLinesError, find_lines
from qlvit_edge.fields.scale import RED_CELL_UM
from qlvit_edge.text import counted

Pixels = NDArray[np.uint8]

DARKEST_BLANK = 60.0
"""Grey value of the brightest channel below which a blank field is too dark to be measured."""

MOST_CLIPPED = 0.002
"""Share of values at 255 from which light is cut off."""

MOST_STRUCTURE = 0.004
"""Share of the field that may differ from even light (dust does)."""

STRUCTURE = 0.06
"""Difference from even light, as a share of it, that is structure."""

MOST_UNEVEN = 4.0
"""Brightest by darkest place, above which the light is not uneven but missing."""

MOST_FLICKER = 0.03
"""Spread of the frames' brightness, as a share of it."""

RED_CELL_UNCERTAINTY = 8.0
"""Standard uncertainty in percent of a scale from red cells: 4 for what they measure in a person
(7 to 8 µm), 7 for how they are measured. On fields with boxes drawn around red cells, BCCD's and
Raabin's, the measured diameter was 0.95 of the boxes' in both; of perfect discs it is 1.1."""

LEAST_FIELDS = 5
"""Fields with red cells that a scale needs."""

MOST_FIELD_SPREAD = 0.25
MOST_LINE_SPREAD = 0.02


def take(camera: Camera, count: int) -> list[Frame]:
    """Return the next frames of a camera, all of one size.

    Raises:
        CameraError: there are none, or their sizes differ.
    """
    frames = list(itertools.islice(camera.frames(), count))
    if not frames:
        raise CameraError(camera.name, "it gave no frame", "check the source")
    if len({frame.image.shape for frame in frames}) > 1:
        finding = "its frames have different sizes"
        raise CameraError(camera.name, finding, "give pictures of one camera, at one setting")
    if min(frames[0].image.shape[:2]) < BLOCKS:
        raise CameraError(camera.name, "its frames are too small to be measured", "choose a size")
    return frames


def blank_light(frames: Sequence[Frame], name: str) -> Light:
    """Return the light on a blank field.

    Args:
        frames: of it, of one size.
        name: of the camera, for messages.

    Raises:
        CameraError: the field is too dark, too bright, flickers, or is not blank.
    """
    mean = np.zeros(frames[0].image.shape, np.float32)
    for frame in frames:
        mean += frame.image
    mean /= len(frames)
    levels = [float(np.median(mean[..., channel])) for channel in range(3)]
    _require_light(frames, levels, name)
    channels = [fit(np.ascontiguousarray(mean[..., channel])) for channel in range(3)]
    flat = FlatField(channels)
    if flat.largest() > MOST_UNEVEN:
        finding = f"the light falls to 1/{flat.largest():.0f} of its brightest place"
        raise CameraError(name, finding, "centre the lamp, open the diaphragm, and try again")
    _require_blank(mean, flat, name)
    _require_steady(frames, name)
    settings = frames[-1].settings
    brightest = [_brightest(mean[..., channel]) for channel in range(3)]
    locked = settings if settings.automatic is False else UNKNOWN_SETTINGS
    return Light(
        date=now(),
        frames=len(frames),
        red=round(brightest[0], 1),
        green=round(brightest[1], 1),
        blue=round(brightest[2], 1),
        exposure_us=locked.exposure_us,
        gain=locked.gain,
        red_gain=locked.red_gain,
        blue_gain=locked.blue_gain,
        flat_red=[round(value, 6) for value in channels[0]],
        flat_green=[round(value, 6) for value in channels[1]],
        flat_blue=[round(value, 6) for value in channels[2]],
    )


def _require_light(frames: Sequence[Frame], levels: Sequence[float], name: str) -> None:
    if max(levels) < DARKEST_BLANK:
        finding = f"the field is too dark: {max(levels):.0f} of 255"
        raise CameraError(name, finding, "turn the lamp up or expose longer, and try again")
    clipped = max(float(np.mean(frame.image == 255)) for frame in frames)
    if clipped > MOST_CLIPPED:
        finding = f"the field is too bright: {clipped:.1%} of its values are cut off at 255"
        raise CameraError(name, finding, "turn the lamp down or expose shorter, and try again")


def _require_steady(frames: Sequence[Frame], name: str) -> None:
    each = [float(frame.image.mean()) for frame in frames]
    flicker = (max(each) - min(each)) / max(1.0, statistics.fmean(each))
    if flicker > MOST_FLICKER:
        raise CameraError(
            name,
            f"the light changes by {flicker:.0%} from frame to frame",
            "let the lamp warm up, lock the exposure, keep the stage still, and try again",
        )


def _require_blank(mean: NDArray[np.float32], flat: FlatField, name: str) -> None:
    """Refuse a field on which something lies that even light does not explain."""
    height, width = mean.shape[:2]
    even = cv2.GaussianBlur(mean * flat.gains(width, height), (0, 0), 2.0)
    usual = np.median(even.reshape(-1, 3), axis=0)
    apart = np.abs(even / usual - 1).max(axis=2) > STRUCTURE
    share = float(apart.mean())
    if share > MOST_STRUCTURE:
        raise CameraError(
            name,
            f"the field is not blank: {share:.1%} of it is cells, dirt or a dark rim",
            "move to an empty place of the slide, out of focus, and try again",
        )


def _brightest(channel: NDArray[np.float32]) -> float:
    return float(np.percentile(cv2.blur(channel, (9, 9)), 99))


def scale_of_micrometer(
    frames: Sequence[Frame], um_between_lines: float, name: str, objective: str = ""
) -> PixelScale:
    """Return the scale by a stage micrometer's lines.

    Args:
        frames: of it; those that show too few lines are passed over.
        um_between_lines: distance of two neighbouring lines, in µm.
        name: of the camera, for messages.
        objective: as the user calls it.

    Raises:
        CameraError: no frame shows its lines, or frames differ.
    """
    found: list[Lines] = []
    finding = ""
    for frame in frames:
        try:
            found.append(find_lines(frame.image))
        except NoLinesError as without:
            finding = str(without)
    if 2 * len(found) <= len(frames):
        raise CameraError(
            name,
            f"no stage micrometer: {finding}",
            "put one into the field, in focus, with its lines across the whole picture",
        )
    periods = [one.period for one in found]
    period = statistics.median(periods)
    spread = (max(periods) - min(periods)) / period
    if spread > MOST_LINE_SPREAD:
        raise CameraError(
            name,
            f"the distance of the lines differs by {spread:.1%} from frame to frame",
            "keep stage and focus still, and try again",
        )
    error = statistics.median(one.uncertainty for one in found)
    lines = round(statistics.median(one.count for one in found))
    return PixelScale(
        date=now(),
        um_per_pixel=_rounded(um_between_lines / period),
        uncertainty_percent=_rounded(100 * float(np.hypot(error / period, spread / 2)) + 0.01, 2),
        method=f"stage micrometer, {um_between_lines:g} µm between its lines",
        measured=lines,
        frames=len(found),
        objective=objective,
    )


def scale_of_red_cells(frames: Sequence[Frame], name: str, objective: str = "") -> PixelScale:
    """Return the scale by the red cells of a smear, which are 7 to 8 µm across.

    Args:
        frames: fields of a stained smear, better all different.
        name: of the camera, for messages.
        objective: as the user calls it.

    Raises:
        CameraError: too few fields show red cells, or their sizes differ too much.
    """
    scales = [measured_scale(frame.image) for frame in frames]
    diameters = [one.red_cell for one in scales if one is not None and one.source == "red cells"]
    if len(diameters) < LEAST_FIELDS:
        raise CameraError(
            name,
            f"red cells are found in {counted(len(diameters), 'frame')} of {len(frames)}, "
            f"{LEAST_FIELDS} are needed",
            "show fields of a stained smear with single red cells, or use a stage micrometer",
        )
    usual = statistics.median(diameters)
    low, high = np.percentile(diameters, (16, 84))
    spread = float(high - low) / 2 / usual
    if spread > MOST_FIELD_SPREAD:
        raise CameraError(
            name,
            f"the red cells' size differs by {spread:.0%} between fields",
            "show fields where red cells lie side by side, or use a stage micrometer",
        )
    of_the_mean = 1.25 * 100 * spread / float(np.sqrt(len(diameters)))
    return PixelScale(
        date=now(),
        um_per_pixel=_rounded(RED_CELL_UM / usual),
        uncertainty_percent=_rounded(float(np.hypot(RED_CELL_UNCERTAINTY, of_the_mean)), 2),
        method=f"red cells taken to be {RED_CELL_UM:g} µm across",
        measured=len(diameters),
        frames=len(diameters),
        objective=objective,
    )


def _rounded(value: float, digits: int = 5) -> float:
    return float(f"{value:.{digits}g}")
