"""From what the user wrote after `--camera` to a camera."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl

from qlvit_edge.camera.base import Camera
from qlvit_edge.errors import CameraError

FORMS = (
    "picamera2, usb:N, a video file, a folder of images, http://…, "
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
    if source.startswith(("http://", "https://")):
        from qlvit_edge.camera.opencv import StreamCamera

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
        from qlvit_edge.camera.opencv import VideoFileCamera

        return VideoFileCamera(path)
    raise CameraError(repr(source), "no such camera, file or folder", f"use {FORMS}")
