"""How the device is: temperature, throttling, memory and disk, as far as it tells."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypedDict

from qlvit_edge.memory import available_memory
from qlvit_edge.sensors import temperature, throttled_file, throttling


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
        temperature=temperature(),
        throttling=throttling(throttled_file()),
        memory_free=available_memory(),
        disk_free=disk,
    )
