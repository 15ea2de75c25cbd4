"""The cameras that this machine has: what the kernel and libcamera say of them."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.errors import CameraError
from qlvit_edge.text import plain

_QUERY_CAPABILITIES = 0x80685600  # VIDIOC_QUERYCAP
_ANSWER_BYTES = 104
_CAPTURES_VIDEO = 0x1  # V4L2_CAP_VIDEO_CAPTURE
_DEVICE_CAPABILITIES = 88
_OF_LIBCAMERA = ("unicam", "rp1-cfe", "bcm2835-isp", "pispbe", "rpi-hevc", "bcm2835-codec")
"""Beginnings of the names of devices behind a Raspberry Pi's ribbon cable, and its codecs."""


@dataclass(frozen=True)
class Device:
    """A camera that is connected.

    Attributes:
        source: what `--camera` takes for it.
        description: its maker's name for it.
        note: why it cannot be used as it is; "" where it can.
    """

    source: str
    description: str
    note: str = ""


def devices(root: Path = Path("/"), captures: Callable[[Path], bool] | None = None) -> list[Device]:
    """Return the cameras that are connected: on a ribbon cable, then USB.

    Args:
        root: where `/dev` and `/sys` lie.
        captures: whether a device gives pictures; raises OSError where it cannot be opened.
    """
    return [*_of_libcamera(), *_of_the_kernel(root, captures or _captures)]


def identity_of(device: Path, root: Path = Path("/")) -> str:
    """Return which camera a video device is, whatever its number today.

    Its link in `/dev/v4l/by-id` names maker, model and serial number; without one its name in
    `/sys` has to do.
    """
    named = by_id(root).get(device.resolve())
    if named is not None:
        return named.name
    return _description(root, device.resolve().name) or str(device)


def by_id(root: Path = Path("/")) -> dict[Path, Path]:
    """Return the lasting name of each video device: device → link."""
    links: dict[Path, Path] = {}
    folder = root / "dev/v4l/by-id"
    with suppress(OSError):
        for link in sorted(folder.iterdir()):
            links.setdefault(link.resolve(), link)
    return links


def _of_libcamera() -> list[Device]:
    from qlvit_edge.camera.picamera2 import cameras_of_libcamera

    try:
        _, infos = cameras_of_libcamera("picamera2")
    except CameraError:
        return []
    return [
        Device("picamera2" if number == 0 else f"picamera2:{number}", str(info.get("Model", "")))
        for number, info in enumerate(infos)
    ]


def _of_the_kernel(root: Path, captures: Callable[[Path], bool]) -> list[Device]:
    found = []
    lasting = by_id(root)
    with suppress(OSError):
        paths = [path for path in (root / "dev").iterdir() if path.name.startswith("video")]
        for path in sorted(paths, key=lambda one: (len(one.name), one.name)):
            number = re.fullmatch(r"video([0-9]+)", path.name)
            description = _description(root, path.name)
            if number is None or description.startswith(_OF_LIBCAMERA):
                continue
            note = ""
            try:
                if not captures(path):
                    continue
            except OSError as error:
                note = (
                    f"{(error.strerror or str(error)).lower()}; add yourself to the group `video`"
                )
            link = lasting.get(path.resolve())
            source = f"usb:{number[1]}" if link is None else f"usb:/{link.relative_to(root)}"
            found.append(Device(source, description or path.name, note))
    return found


def _description(root: Path, device: str) -> str:
    try:
        return plain((root / f"sys/class/video4linux/{device}/name").read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return ""


def _captures(device: Path) -> bool:
    """Ask a device whether it gives pictures: cameras have a second one for their metadata."""
    answer = bytearray(_ANSWER_BYTES)
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, _QUERY_CAPABILITIES, answer)
    finally:
        os.close(descriptor)
    word = answer[_DEVICE_CAPABILITIES : _DEVICE_CAPABILITIES + 4]
    return bool(int.from_bytes(word, "little") & _CAPTURES_VIDEO)
