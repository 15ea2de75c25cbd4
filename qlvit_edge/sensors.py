"""Temperature and throttling, as far as the device tells: the one place that asks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")
_NOW = {0: "undervoltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_START = 16
"""Bits of what has happened since the start stand so many places above those of now."""

WARM, HOT = 70.0, 80.0
"""°C; a Raspberry Pi slows down from 80 on."""


def temperature(folder: Path = ROOT / "sys/class/thermal") -> float | None:
    """Return the highest temperature, degrees Celsius.

    Args:
        folder: with thermal zones; where it has none, the sensors of `hwmon` beside it count.
    """
    found = []
    zones = list(folder.glob("thermal_zone*/temp"))
    for sensor in zones or folder.with_name("hwmon").glob("hwmon*/temp*_input"):
        try:
            found.append(int(sensor.read_text(encoding="ascii")) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


def throttled_file(root: Path = ROOT) -> Path:
    """Return the file in which a Raspberry Pi's kernel tells of throttling."""
    return root / "sys/devices/platform/soc/soc:firmware/get_throttled"


def throttling(file: Path) -> list[str] | None:
    """Return what holds a Raspberry Pi's processor back now, from the kernel or vcgencmd."""
    bits = throttling_bits(file)
    return None if bits is None else words_of(bits)


def throttling_bits(file: Path) -> int | None:
    """Return the firmware's answer to `vcgencmd get_throttled`; None where there is none."""
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        text = _asked()
    try:
        return int(text.strip().removeprefix("throttled=").removeprefix("0x"), 16)
    except ValueError:
        return None


def slowed_cores(root: Path = ROOT) -> int | None:
    """Return how often x86's kernel counted that the hottest core was slowed; None elsewhere."""
    counts = []
    for path in root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"):
        try:
            counts.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return max(counts, default=None)


def words_of(bits: int) -> list[str]:
    """Return the lowest four bits in words."""
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
