"""What a camera gives, measured over some frames, and whether that will do."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Camera, Frame, LiveCamera
from qlvit_edge.errors import CameraError, DataError
from qlvit_edge.fields.quality import image_measures
from qlvit_edge.files import write_bytes
from qlvit_edge.text import counted

Verdict = Literal["ok", "warning", "error"]

SHARP_FROM = 2700
"""Sharpness below which nothing in a frame is sharp: 2500 is all smooth; fields of stained smears
have 2750 to 2950, blurred by 3 pixels 2560 to 2610."""

DARK, PALE = 100, 160
"""Background below which a field is too dark, and from which it is as light as it should be."""

CLIPPED = 20
"""Thousandths of values at 255 from which light is cut off."""

SLOW = 5.0
"""Frames per second below which a live picture cannot be followed."""

DRIFT = 0.05
"""Change of the background between the first frames and the last, as a share of it."""

PICTURES = 3
"""Pictures saved: of the first frame, the middle one and the last."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tested.

    Attributes:
        verdict: whether it will do.
        what: what was tested.
        text: what was found, and what to do where it will not do.
    """

    verdict: Verdict
    what: str
    text: str


@dataclass(frozen=True)
class CameraCheck:
    """What a camera gave.

    Attributes:
        camera: its name, without credentials.
        identity: which camera it is; "" where that is not known.
        size: (width, height) of its frames in pixels.
        frames: how many were taken.
        frames_per_second: in the mean; of stored pictures how fast they were read.
        missed: frames that came and were not taken in time; of a live camera.
        damaged: frames that came damaged and were left out.
        sharpness: median, see `qlvit_edge.fields.quality`.
        light: median of the background's brightest channel, 0 to 255.
        clipped: median of the values that are 255, in thousandths.
        settings: of the last frame.
        findings: what was tested.
        pictures: files that were saved.
    """

    camera: str
    identity: str
    size: tuple[int, int]
    frames: int
    frames_per_second: float
    missed: int
    damaged: int
    sharpness: float
    light: float
    clipped: float
    settings: dict[str, float | bool]
    findings: tuple[Finding, ...]
    pictures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return all(finding.verdict != "error" for finding in self.findings)


@dataclass
class _Seen:
    """What is noted of a frame; the picture of a few only."""

    index: int
    monotonic: float
    size: tuple[int, int]
    measures: dict[str, int]
    same: bool


def check_camera(camera: Camera, count: int, save: Path | None = None) -> CameraCheck:
    """Take frames of a camera that was entered, and judge them.

    Args:
        camera: the camera.
        count: how many frames.
        save: an existing folder for `PICTURES` pictures of them; None for none.

    Raises:
        CameraError: it gave no frame.
        CameraStalledError: it stopped giving frames.
        DataError: a picture cannot be saved.
    """
    seen: list[_Seen] = []
    pictures: list[str] = []
    frame = before = None
    live = isinstance(camera, LiveCamera)
    started = time.monotonic()
    wanted = {0, count // 2, count - 1}
    for number, frame in enumerate(itertools.islice(camera.frames(), count)):
        seen.append(_noted(frame, before))
        before = frame.image
        if save is not None and number in wanted:
            pictures.append(str(_saved(save, frame)))
    if frame is None:
        raise CameraError(camera.name, "it gave no frame", "check the source")
    seconds = (seen[-1].monotonic - seen[0].monotonic) if live else time.monotonic() - started
    intervals = len(seen) - 1 if live else len(seen)
    damaged = camera.report.dropped
    measured = {
        name: statistics.median(one.measures[name] for one in seen)
        for name in ("sharpness", "light", "clipped")
    }
    height, width = frame.image.shape[:2]
    rate = intervals / seconds if seconds > 0 else 0.0
    missed = max(0, seen[-1].index - seen[0].index + 1 - len(seen) - damaged) if live else 0
    return CameraCheck(
        camera=camera.name,
        identity=camera.identity,
        size=(width, height),
        frames=len(seen),
        frames_per_second=rate,
        missed=missed,
        damaged=damaged,
        sharpness=measured["sharpness"],
        light=measured["light"],
        clipped=measured["clipped"],
        settings=frame.settings.stored(),
        findings=(
            *_of_the_stream(seen, rate, missed, damaged, live),
            *_of_the_picture(measured),
            *_of_the_light(seen, frame, live),
        ),
        pictures=tuple(pictures),
    )


def _noted(frame: Frame, before: NDArray[np.uint8] | None) -> _Seen:
    height, width = frame.image.shape[:2]
    same = before is not None and np.array_equal(before, frame.image)
    measures = image_measures(frame.image)
    return _Seen(frame.index, frame.monotonic, (width, height), measures, same)


def _saved(folder: Path, frame: Frame) -> Path:
    path = folder / f"frame{frame.index:06d}.png"
    good, content = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    if not good:
        raise ValueError(f"frame {frame.index} cannot be written as PNG")
    try:
        write_bytes(path, content.tobytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(path, f"cannot be saved ({reason})", "choose another folder") from error
    return path


def _of_the_stream(
    seen: list[_Seen], rate: float, missed: int, damaged: int, live: bool
) -> list[Finding]:
    found = []
    if not live:
        found.append(Finding("ok", "frames", f"{counted(len(seen), 'frame')}"))
    elif rate < SLOW:
        text = f"{rate:.1f} frames/s: expose shorter, or choose a smaller size"
        found.append(Finding("warning", "frames", text))
    else:
        taken = f"{rate:.1f} frames/s"
        late = f"; {counted(missed, 'frame')} came while this test was busy" if missed else ""
        found.append(Finding("ok", "frames", taken + late))
    if damaged:
        share = damaged / (damaged + len(seen))
        verdict: Verdict = "error" if share > 0.05 else "warning"
        text = f"{damaged} came damaged ({share:.0%}): check cable, network and the camera's server"
        found.append(Finding(verdict, "drops", text))
    else:
        found.append(Finding("ok", "drops", "none came damaged"))
    sizes = sorted({one.size for one in seen})
    if len(sizes) > 1:
        text = " and ".join(f"{width}x{height}" for width, height in sizes)
        found.append(Finding("warning", "size", f"the frames' size changes: {text} pixels"))
    if live and len(seen) > 2 and all(one.same for one in seen[1:]):
        text = "every frame is the same to the last bit: the picture is frozen; restart the camera"
        found.append(Finding("error", "moving", text))
    return found


def _of_the_picture(measured: dict[str, float]) -> list[Finding]:
    found = []
    light, clipped, sharpness = (measured[name] for name in ("light", "clipped", "sharpness"))
    if light < DARK:
        text = f"background {light:.0f} of 255: too dark; turn the lamp up or expose longer"
        found.append(Finding("error", "light", text))
    elif clipped >= CLIPPED:
        text = f"{clipped / 10:.1f} % of all values are cut off at 255: turn the lamp down"
        found.append(Finding("error", "light", text))
    elif light < PALE:
        text = f"background {light:.0f} of 255: rather dark; 200 to 230 is usual"
        found.append(Finding("warning", "light", text))
    else:
        found.append(Finding("ok", "light", f"background {light:.0f} of 255"))
    if sharpness < SHARP_FROM:
        text = f"{sharpness:.0f}, sharp from {SHARP_FROM}: nothing in the picture is sharp; focus"
        found.append(Finding("warning", "sharpness", text))
    else:
        found.append(Finding("ok", "sharpness", f"{sharpness:.0f}, sharp from {SHARP_FROM}"))
    return found


def _of_the_light(seen: list[_Seen], frame: Frame, live: bool) -> list[Finding]:
    if not live:
        return []
    few = max(1, len(seen) // 5)
    first, last = (
        statistics.fmean(one.measures["light"] for one in part)
        for part in (seen[:few], seen[-few:])
    )
    found = []
    if abs(last - first) > DRIFT * max(first, 1.0):
        text = (
            f"the background went from {first:.0f} to {last:.0f}: lock exposure and white balance"
        )
        found.append(Finding("warning", "steadiness", text))
    said = frame.settings
    if said.automatic:
        text = (
            f"{said.words()}: colours follow the specimen; lock them (`camera calibrate --blank`)"
        )
        found.append(Finding("warning", "settings", text))
    else:
        found.append(Finding("ok", "settings", said.words()))
    return found
