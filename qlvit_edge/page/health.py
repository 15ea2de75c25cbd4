"""How the device is: temperature, throttling, memory and disk, as far as it tells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

from qlvit_edge.memory import available_memory

_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_THERMAL = Path("/sys/class/thermal")
_NOW = {0: "undervoltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


class Health(TypedDict):
    """One look at the device; None is not known.

    Attributes:
        temperature: of the hottest sensor, degrees Celsius.
        throttling: what holds the processor back now; empty for nothing.
        memory_free: bytes that may still be taken.
        disk_free: bytes free where the results are.
    """

    temperature: float | None
    throttling: list[str] | None
    memory_free: int | None
    disk_free: int | None


def look(results: Path) -> Health:
    """Return how the device is now.

    Args:
        results: the results file; its folder's disk is looked at.
    """
    try:
        disk = shutil.disk_usage(results.absolute().parent).free
    except OSError:
        disk = None
    return Health(
        temperature=temperature(_THERMAL),
        throttling=throttling(_THROTTLED),
        memory_free=available_memory(),
        disk_free=disk,
    )


def temperature(folder: Path) -> float | None:
    """Return the highest temperature in a folder of thermal zones, degrees Celsius."""
    found = []
    for sensor in folder.glob("thermal_zone*/temp"):
        try:
            found.append(int(sensor.read_text(encoding="ascii")) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


def throttling(file: Path) -> list[str] | None:
    """Return what holds a Raspberry Pi's processor back now, from the kernel or vcgencmd."""
    try:
        text = file.read_text(encoding="ascii")
    except OSError:
        text = _asked()
    try:
        bits = int(text.strip().removeprefix("throttled=").removeprefix("0x"), 16)
    except ValueError:
        return None
    return [word for bit, word in _NOW.items() if bits >> bit & 1]


def _asked() -> str:
    program = shutil.which("vcgencmd")
    if program is None:
        return ""
    try:
        asked = subprocess.run(
            [program, "get_throttled"], capture_output=True, text=True, timeout=1, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return asked.stdout
