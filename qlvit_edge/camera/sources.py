"""From what the user wrote after `--camera` to a camera."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl

from qlvit_edge.camera.base import Camera
from qlvit_edge.credentials import masked
from qlvit_edge.errors import CameraError
from qlvit_edge.imagefolder import VIDEO, begins_as_image, foreign_kind
from qlvit_edge.preprocess import IMAGE_SUFFIXES

FORMS = (
    "picamera2, usb:N, a video file, an image, a folder of images, http://…, rtsp://…, "
    "simulated:FOLDER or simulated:FOLDER?seed=N&fps=N"
)


def open_camera(source: str) -> Camera:
    """Return the camera that ``source`` names; entering it starts it.

    Args:
        source: one of `FORMS`.

    Raises:
        CameraError: no such form, or nothing there. Nothing is guessed.
    """
    if source == "picamera2":
        from qlvit_edge.camera.picamera2 import PiCamera

        return PiCamera()
    if source.startswith("usb:"):
        return _usb(source)
    if re.match(r"(https?|rtsps?)://", source, re.IGNORECASE):
        from qlvit_edge.camera.stream import StreamCamera

        return StreamCamera(source)
    if source.startswith("simulated:"):
        return _simulated(source)
    return _path(source)


def _usb(source: str) -> Camera:
    from qlvit_edge.camera.opencv import UsbCamera

    number = source.removeprefix("usb:")
    if not re.fullmatch(r"[0-9]{1,3}", number):
        raise CameraError(source, f"{number!r} is not a number", "write usb:0 for /dev/video0")
    return UsbCamera(int(number))


def _simulated(source: str) -> Camera:
    from qlvit_edge.camera.simulated import SimulatedCamera

    folder, _, query = source.removeprefix("simulated:").partition("?")
    if not folder:
        raise CameraError(source, "no folder is named", "write simulated:FOLDER")
    settings = {"seed": "0", "fps": "10"}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in settings:
            raise CameraError(source, f"unknown setting {key!r}", "use seed and fps")
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?" if key == "fps" else r"[0-9]{1,9}", value):
            raise CameraError(source, f"{key}={value!r} is not a number", f"write {key}=3")
        settings[key] = value
    return SimulatedCamera(Path(folder), seed=int(settings["seed"]), fps=float(settings["fps"]))


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
