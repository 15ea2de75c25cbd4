"""The device itself: memory, heat, power, the clock, and room for temporary files."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from qlvit_edge.doctor.finding import Finding, Place
from qlvit_edge.memory import available_memory, meminfo
from qlvit_edge.sensors import (
    HOT,
    SINCE_START,
    WARM,
    slowed_cores,
    temperature,
    throttled_file,
    throttling_bits,
    words_of,
)
from qlvit_edge.text import counted

MEGABYTE = 1_000_000
LEAST_MEMORY, USUAL_MEMORY = 180 * MEGABYTE, 350 * MEGABYTE
"""What a run may take without the page, and what leaves room beside one with it."""

LEAST_TEMPORARY = 20 * MEGABYTE

MADE = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
"""A clock that shows an earlier time than that of this version is wrong."""

LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()

_TIMEX_BYTES = 512
_TIME_ERROR = 5


def check_memory(place: Place) -> list[Finding]:
    """Is there memory for a run, and is the device swapping?"""
    return [_memory(available_memory(place.root)), _swap(meminfo(place.root))]


def _memory(free: int | None) -> Finding:
    if free is None:
        return Finding("memory", "not checked", "the system does not tell")
    text = f"{free // MEGABYTE} MB may be taken"
    if free < LEAST_MEMORY:
        text += f"; a run takes up to {LEAST_MEMORY // MEGABYTE} MB"
        return Finding("memory", "fail", text, "close other programs, or use a larger device")
    if free < USUAL_MEMORY:
        return Finding("memory", "warning", text, "close other programs, or run without --serve")
    return Finding("memory", "ok", text)


def _swap(known: dict[str, int]) -> Finding:
    if "SwapTotal" not in known:
        return Finding("swap", "not checked", "the system does not tell")
    total, free = known["SwapTotal"], known.get("SwapFree", 0)
    used = total - free
    text = f"{used // MEGABYTE} of {total // MEGABYTE} MB in use"
    if not total:
        return Finding("swap", "ok", "none: a program that takes too much is ended, not slowed")
    if 2 * used > total:
        remedy = "close other programs: what is swapped out waits for the card"
        return Finding("swap", "warning", text, remedy)
    return Finding("swap", "ok", text)


def check_heat(place: Place) -> list[Finding]:
    """Is the device hot, and is or was its processor held back?"""
    hottest = temperature(place.root / "sys/class/thermal")
    return [_temperature(hottest), _throttling(place.root)]


def _temperature(hottest: float | None) -> Finding:
    if hottest is None:
        return Finding("temperature", "not checked", "no sensor tells it")
    text = f"{hottest:.0f} °C"
    if hottest >= HOT:
        text += f": processors slow down from {HOT:.0f} °C on"
        return Finding("temperature", "fail", text, "fit a heat sink and a fan; free the vents")
    if hottest >= WARM:
        return Finding("temperature", "warning", text, "fit a heat sink or a fan before a long run")
    return Finding("temperature", "ok", text)


def _throttling(root: Path) -> Finding:
    bits = throttling_bits(throttled_file(root))
    if bits is None:
        return _slowed_cores(root)
    now, before = words_of(bits), words_of(bits >> SINCE_START)
    power = "use the maker's power supply and a short cable"
    if "undervoltage" in now:
        text = "the power supply gives too little now: the card can be damaged"
        return Finding("throttling", "fail", text, power)
    if now:
        return Finding("throttling", "warning", f"now: {', '.join(now)}", "fit a fan")
    if before:
        remedy = power if "undervoltage" in before else "fit a fan"
        return Finding("throttling", "warning", f"since the start: {', '.join(before)}", remedy)
    return Finding("throttling", "ok", "none now, none since the start")


def _slowed_cores(root: Path) -> Finding:
    """What kernels on x86 count."""
    most = slowed_cores(root)
    if most is None:
        return Finding("throttling", "not checked", "neither firmware nor kernel tells")
    if most:
        text = f"a core was slowed down {counted(most, 'time')} since the start"
        return Finding("throttling", "warning", text, "clean or fit a fan")
    return Finding("throttling", "ok", "none since the start")


def check_clock(place: Place) -> list[Finding]:
    """Does the clock show a time that can be, and is it kept right?"""
    return [time_finding(time.time()), synchronised_finding(synchronised())]


def time_finding(now: float) -> Finding:
    """Judge a time in seconds since 1970."""
    if not MADE <= now < LATEST:
        shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now)) if abs(now) < 2**40 else str(now)
        text = f"it shows {shown} UTC: times in the results would be wrong"
        remedy = "sudo date -s 'YYYY-MM-DD HH:MM', or a network, or a battery for the clock"
        return Finding("clock", "fail", text, remedy)
    return Finding("clock", "ok", f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(now))} UTC")


def synchronised_finding(kept: bool | None) -> Finding:
    """Judge whether the clock is kept right; None where the kernel does not tell."""
    if kept is None:
        return Finding("clock set by", "not checked", "the kernel does not tell")
    if not kept:
        text = "nobody keeps it right: it drifts, and is wrong after a start without a network"
        remedy = "sudo timedatectl set-ntp true; without a network, look at it before every run"
        return Finding("clock set by", "warning", text, remedy)
    return Finding("clock set by", "ok", "the network")


def synchronised() -> bool | None:
    """Ask the kernel whether its clock is synchronised (adjtimex(2) that changes nothing)."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def check_temporary(place: Place) -> list[Finding]:
    """Can temporary files be made, and is there room for them?"""
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        text = f"no temporary file can be made ({(error.strerror or str(error)).lower()})"
        remedy = "free some space in /tmp, or set TMPDIR to a folder that can be written"
        return [Finding("temporary files", "fail", text, remedy)]
    return [temporary_finding(folder, free, os.environ.get("TMPDIR"))]


def temporary_finding(folder: str, free: int, asked: str | None) -> Finding:
    """Judge the room for temporary files, in bytes.

    Args:
        folder: where they go.
        free: bytes that are left there.
        asked: the folder that TMPDIR names.
    """
    text = f"{free // MEGABYTE} MB free in {folder}"
    if asked and os.path.realpath(asked) != os.path.realpath(folder):
        text = f"TMPDIR names {asked}, which cannot be used; {text}"
        return Finding("temporary files", "warning", text, "make that folder, or unset TMPDIR")
    if free < LEAST_TEMPORARY:
        return Finding("temporary files", "warning", text, f"free some space in {folder}")
    return Finding("temporary files", "ok", text)
