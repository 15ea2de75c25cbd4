"""Cameras: which are connected, and whether the one that is named gives frames."""

from __future__ import annotations

from qlvit_edge.camera.devices import devices
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.credentials import masked
from qlvit_edge.doctor.finding import Finding, Place, State
from qlvit_edge.errors import DataError, DeviceError
from qlvit_edge.microscope.camera_check import CameraCheck, check_camera

FRAMES = 10

IDLE = 3.0
"""Seconds after which a watched folder is asked no longer; a run waits without end."""

_STATES: dict[str, State] = {"ok": "ok", "warning": "warning", "error": "fail"}


def check_cameras(place: Place) -> list[Finding]:
    """Which cameras are connected; does the named one give frames that will do?"""
    if place.camera is None:
        return [_connected(place)]
    return _frames(place.camera)


def _connected(place: Place) -> Finding:
    found = devices(place.root)
    if not found:
        why = "none is connected; name a stream, video or folder with --camera"
        return Finding("camera", "not checked", why)
    barred = [device for device in found if device.note]
    names = ", ".join(f"{device.source} ({device.description})" for device in found)
    if barred:
        text = f"{names}; {barred[0].source}: {barred[0].note}"
        return Finding("camera", "warning", text, "sudo usermod -aG video $USER, then log in again")
    return Finding("camera", "ok", f"connected, not tried (--camera SOURCE tries one): {names}")


def _frames(source: str) -> list[Finding]:
    name = masked(source)
    watched = source.startswith("watch:")
    if watched and "idle=" not in source:
        source += f"{'&' if '?' in source else '?'}idle={IDLE:g}"
    try:
        with open_camera(source) as camera:
            seen = check_camera(camera, FRAMES)
    except (DeviceError, DataError) as error:
        text, _, remedy = str(error).partition("; ")
        if watched and "it gave no frame" in text:
            text = f"{name}: it holds no image, and none came within {IDLE:g} s"
            return [Finding("camera", "warning", text, "let the scanner drop one, and try again")]
        return [Finding("camera", "fail", text, remedy)]
    return frames_findings(name, seen)


def frames_findings(name: str, seen: CameraCheck) -> list[Finding]:
    """Return what some frames tell: one finding where all is well, else what is not."""
    wrong = [one for one in seen.findings if one.verdict != "ok"]
    if not wrong:
        width, height = seen.size
        text = f"{name} gives frames of {width}x{height} pixels, light and sharp enough"
        return [Finding("camera", "ok", text)]
    again = "see `qlvit-edge camera test`"
    return [
        Finding("camera", _STATES[one.verdict], f"{name}: {one.what}: {one.text}", again)
        for one in wrong
    ]
