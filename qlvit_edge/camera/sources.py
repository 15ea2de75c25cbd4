"""From what the user wrote after `--camera` to a camera."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl

from qlvit_edge.camera.base import Camera
from qlvit_edge.camera.settings import Wanted
from qlvit_edge.credentials import masked
from qlvit_edge.errors import CameraError
from qlvit_edge.imagefolder import VIDEO, begins_as_image, foreign_kind
from qlvit_edge.preprocess import IMAGE_SUFFIXES

FORMS = (
    "picamera2, usb:N, a video file, an image, a folder of images, watch:FOLDER, http://…, "
    "rtsp://…, simulated:FOLDER or simulated:FOLDER?seed=N&fps=N"
)

_WHOLE = r"[0-9]{1,9}"
_DECIMAL = r"[0-9]{1,9}(\.[0-9]{1,6})?"
_SIZE = r"[1-9][0-9]{1,4}x[1-9][0-9]{1,4}"
_SETTINGS = {
    "seed": (_WHOLE, "3"),
    "stage": ("motor|hand", "hand"),
    "fps": (_DECIMAL, "3"),
    "idle": (_DECIMAL, "60"),
    "size": (_SIZE, "1280x960"),
    "small": (_SIZE, "640x480"),
    "exposure": (_DECIMAL, "4000"),
    "gain": (_DECIMAL, "1.5"),
    "white-balance": (f"{_DECIMAL},{_DECIMAL}", "1.9,1.6"),
}
"""What may follow a source's `?`: what it looks like, and an example."""

LARGEST_SIMULATED = 8192
"""Longest side, in pixels, of simulated frames."""


def open_camera(source: str, wanted: Wanted | None = None) -> Camera:
    """Return the camera that ``source`` names; entering it starts it.

    Args:
        source: one of `FORMS`.
        wanted: settings for cameras that take any; those that the source names go before.

    Raises:
        CameraError: no such form, or nothing there. Nothing is guessed.
    """
    if re.match(r"picamera2([:?]|$)", source):
        return _csi(source, wanted)
    if source.startswith("usb:"):
        return _usb(source, wanted)
    if re.match(r"(https?|rtsps?)://", source, re.IGNORECASE):
        from qlvit_edge.camera.stream import StreamCamera

        return StreamCamera(source)
    if source.startswith("simulated:"):
        return _simulated(source)
    if source.startswith("watch:"):
        return _watched(source)
    return _path(source)


def _csi(source: str, wanted: Wanted | None) -> Camera:
    from qlvit_edge.camera.picamera2 import PiCamera

    place, settings = _taken_apart(source, ("size", "small", "exposure", "gain", "white-balance"))
    number = place.removeprefix("picamera2").removeprefix(":") or "0"
    if not re.fullmatch(r"[0-9]{1,2}", number):
        raise CameraError(source, f"{number!r} is not a number", "write picamera2:1")
    asked = _wanted(settings)
    if wanted is not None:
        asked = Wanted(
            asked.size or wanted.size,
            asked.small,
            asked.exposure_us or wanted.exposure_us,
            asked.gain or wanted.gain,
            asked.colour_gains or wanted.colour_gains,
        )
    return PiCamera(int(number), wanted=asked)


def _usb(source: str, wanted: Wanted | None) -> Camera:
    from qlvit_edge.camera.opencv import UsbCamera

    place, settings = _taken_apart(source, ("size",))
    device = place.removeprefix("usb:")
    if not device.startswith("/dev/"):
        if not re.fullmatch(r"[0-9]{1,3}", device):
            raise CameraError(
                source,
                f"{device!r} is not a number",
                "write usb:0 for /dev/video0, or usb:/dev/v4l/by-id/NAME",
            )
        device = f"/dev/video{device}"
    asked = _wanted(settings)
    if asked.size is None and wanted is not None:
        asked = Wanted(wanted.size)
    return UsbCamera(Path(device), wanted=asked)


def _simulated(source: str) -> Camera:
    from qlvit_edge.camera.simulated import SimulatedCamera

    place, settings = _taken_apart(source, ("seed", "fps", "stage", "size"))
    folder = _folder(source, place)
    seed, fps = int(settings.get("seed", "0")), float(settings.get("fps", "10"))
    size = _wanted(settings).size or (640, 480)
    if max(size) > LARGEST_SIMULATED:
        finding = f"frames of {size[0]}x{size[1]} pixels are too large to simulate"
        raise CameraError(source, finding, f"name at most {LARGEST_SIMULATED} either way")
    if settings.get("stage") == "hand":
        from qlvit_edge.camera.stage import StageCamera

        return StageCamera(folder, seed=seed, fps=fps, size=size)
    return SimulatedCamera(folder, seed=seed, fps=fps, size=size)


def _watched(source: str) -> Camera:
    from qlvit_edge.camera.watched import WatchedFolder

    place, settings = _taken_apart(source, ("idle",))
    return WatchedFolder(_folder(source, place), idle_seconds=float(settings.get("idle", "0")))


def _folder(source: str, place: str) -> Path:
    kind, _, folder = place.partition(":")
    if not folder:
        raise CameraError(source, "no folder is named", f"write {kind}:FOLDER")
    return Path(folder)


def _taken_apart(source: str, allowed: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Return what stands before a source's `?`, and the settings behind it.

    Raises:
        CameraError: a setting is unknown or looks otherwise.
    """
    place, _, query = source.partition("?")
    settings = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in allowed:
            raise CameraError(source, f"unknown setting {key!r}", f"use {' and '.join(allowed)}")
        pattern, example = _SETTINGS[key]
        if not re.fullmatch(pattern, value):
            kind = "a number" if pattern in (_WHOLE, _DECIMAL) else "of the form that it takes"
            finding = f"{key}={value!r} is not {kind}"
            raise CameraError(source, finding, f"write {key}={example}")
        settings[key] = value
    return place, settings


def _wanted(settings: dict[str, str]) -> Wanted:
    def pair(name: str) -> tuple[int, int] | None:
        if name not in settings:
            return None
        width, height = settings[name].split("x")
        return int(width), int(height)

    gains = settings.get("white-balance")
    red, blue = gains.split(",") if gains else ("0", "0")
    return Wanted(
        pair("size"),
        pair("small"),
        float(settings["exposure"]) if "exposure" in settings else None,
        float(settings["gain"]) if "gain" in settings else None,
        (float(red), float(blue)) if gains else None,
    )


def _path(source: str) -> Camera:
    path = Path(source)
    if source and path.is_dir():
        from qlvit_edge.camera.folder import FolderCamera

        return FolderCamera(path)
    if source and path.is_file():
        return _file(path)
    if "://" in source:
        shown = masked(source)
        raise CameraError(repr(shown), "no such kind of address", f"use {FORMS}")
    raise CameraError(repr(source), "no such camera, file or folder", f"use {FORMS}")


def _file(path: Path) -> Camera:
    from qlvit_edge.camera.folder import ImageCamera
    from qlvit_edge.camera.video import VideoFileCamera

    foreign = foreign_kind(path.name)
    if foreign is not None and foreign is not VIDEO:
        raise CameraError(path, f"it is {foreign.one}", foreign.remedy)
    if path.suffix.lower() in IMAGE_SUFFIXES or begins_as_image(path):
        return ImageCamera(path)
    return VideoFileCamera(path)
