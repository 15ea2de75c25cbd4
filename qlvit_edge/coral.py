"""Edge TPUs as the system lists them, and the library that drives them.

A stick that was not used since it was plugged in is another USB device than the same stick
afterwards: the library loads its firmware first. Nothing here opens a device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "libedgetpu.so.1"
"""What the vendor's packages install."""

WORD = "edgetpu"
"""Stands for that library, wherever it lies."""

_PLACES = (
    *("usr/lib/*/libedgetpu.so.1", "usr/lib/libedgetpu.so.1"),
    *("usr/local/lib/libedgetpu.so.1", "lib/*/libedgetpu.so.1"),
)
_STICKS = {("1a6e", "089a"): False, ("18d1", "9302"): True}
"""Maker and product → whether its firmware is loaded."""

_CARD = ("0x1ac1", "0x089a")
_PACKAGES = ("libedgetpu1-std", "libedgetpu1-max", "libedgetpu1")
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Stick:
    """An Edge TPU at a USB port.

    Attributes:
        port: its port as the system names it, such as ``"1-1.2"``.
        initialised: whether its firmware is loaded.
        speed: megabits per second; None where that is not told.
        node: its device file.
    """

    port: str
    initialised: bool
    speed: int | None
    node: Path


def sticks(root: Path = Path("/")) -> tuple[Stick, ...]:
    """Return the Edge TPUs at USB ports, in the order of their ports.

    Args:
        root: where `sys` and `dev` lie.
    """
    found = []
    for vendor in root.glob("sys/bus/usb/devices/*/idVendor"):
        folder = vendor.parent
        kind = _STICKS.get((_read(vendor), _read(folder / "idProduct")))
        if kind is None:
            continue
        speed, bus, device = (_read(folder / name) for name in ("speed", "busnum", "devnum"))
        node = root / f"dev/bus/usb/{bus:0>3}/{device:0>3}"
        found.append(Stick(folder.name, kind, int(speed) if speed.isdecimal() else None, node))
    return tuple(sorted(found, key=lambda stick: [*map(int, re.findall(r"\d+", stick.port))]))


def has_card(root: Path = Path("/")) -> bool:
    """Tell whether an Edge TPU is built in as a card (PCIe)."""
    devices = root.glob("sys/bus/pci/devices/*/device")
    return any((_read(path.parent / "vendor"), _read(path)) == _CARD for path in devices)


def installed_library(root: Path = Path("/")) -> Path | None:
    """Return the library where a package puts it; None where it is not there."""
    return next((path for glob in _PLACES for path in sorted(root.glob(glob))), None)


def library_named(name: str, root: Path = Path("/")) -> str:
    """Return what the system's loader is to be asked for.

    Args:
        name: name or path of a library, or ``"edgetpu"``, which finds the vendor's.
        root: where `usr` and `lib` lie.
    """
    if name != WORD:
        return name
    found = installed_library(root)
    return LIBRARY if found is None else str(found)


def package_version(root: Path = Path("/")) -> str | None:
    """Return the version of the library's Debian package; None where there is none.

    The library itself does not say for which TensorFlow it was compiled; its package does.
    """
    status = root / "var/lib/dpkg/status"
    try:
        with status.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Package") in _PACKAGES and fields.get("Status", "").endswith(" installed"):
            return str(fields.get("Version")) if "Version" in fields else None
    return None


def misfit(package: str, runtime: str, version: str) -> str | None:
    """Say why a package of the library does not go with a runtime; None where it is known to.

    Args:
        package: version of the library's package.
        runtime: ``"tflite-runtime"`` or ``"ai-edge-litert"``.
        version: of the runtime.
    """
    if runtime != "tflite-runtime":
        return f"libedgetpu {package} was never seen with {runtime} {version}"
    number = tuple(map(int, re.findall(r"\d+", version)[:2]))
    compiled = re.search(r"TF(\d+)\.(\d+)", package)
    if compiled is None:
        if number < (2, 12):
            return None
        return f"libedgetpu {package} crashes with tflite-runtime {version}"
    if (2, 11) <= number <= (2, 16):
        return None
    return f"libedgetpu {package} is for tflite-runtime 2.11 to 2.16, not {version}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
