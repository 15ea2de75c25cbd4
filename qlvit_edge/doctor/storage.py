"""Where results go: folder, file system, room, other runs, and whether the file is whole."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from qlvit_edge.doctor.finding import Finding, Place
from qlvit_edge.errors import DataError
from qlvit_edge.text import counted

_HEAD = b"SQLite format 3\0"

MEGABYTE = 1_000_000
RESULTS_PER_HOUR = 50 * MEGABYTE
"""Ten frames per second write about 1.2 GB per day (docs/microscope.md, "In the field")."""

PICTURE = 50_000
PICTURES_PER_HOUR = 36_000
"""With `--save`, ten pictures per second of 640 × 480 pixels."""

LEAST_FREE = 200 * MEGABYTE
LEAST_NODES = 1000

LARGEST_VERIFIED = 300 * MEGABYTE

_PASSING = {
    "tmpfs": "it is in memory and gone when the device is switched off",
    "ramfs": "it is in memory and gone when the device is switched off",
    "overlay": "it is a layer that a restart, or the end of a container, may throw away",
}
_WITHOUT_RIGHTS = frozenset({"vfat", "exfat", "msdos", "ntfs", "fuseblk", "ntfs3"})


def check_folder(place: Place) -> list[Finding]:
    """Can files be written where the results are to lie?"""
    return [folder_finding(place.folder)]


def folder_finding(folder: Path) -> Finding:
    """Judge a folder by writing a file in it, which nobody sees."""
    check = "results folder"
    if not folder.exists():
        return Finding(check, "fail", f"{folder} does not exist", f"mkdir -p {folder}")
    if not folder.is_dir():
        return Finding(check, "fail", f"{folder} is no folder", "name a file in a folder")
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = f"sudo chown $USER {folder}, or name another folder with --out"
        return Finding(check, "fail", f"nothing can be written in {folder} ({reason})", remedy)
    return Finding(check, "ok", f"{folder} can be written")


def check_disk(place: Place) -> list[Finding]:
    """What file system is it, and is there room for the hours to come?"""
    from qlvit_edge.microscope.claim import file_system

    folder = place.folder
    try:
        system = file_system(folder, place.root)
        found = os.statvfs(folder)
    except OSError as error:
        why = f"{folder}: {(error.strerror or str(error)).lower()}"
        return [Finding("file system", "not checked", why), Finding("disk", "not checked", why)]
    free = found.f_bavail * found.f_frsize
    nodes = found.f_favail if found.f_files else None
    return [system_finding(system), room_finding(free, nodes, place.hours)]


def system_finding(system: str) -> Finding:
    """Judge a type of file system; "" where it is hidden."""
    from qlvit_edge.microscope.claim import NETWORK_DISKS

    check = "file system"
    if not system:
        return Finding(check, "not checked", "the system does not tell its type")
    if system in NETWORK_DISKS:
        text = f"{system}, a network disk: results are not safe there, and `run` refuses it"
        return Finding(check, "fail", text, "name a local disk, and copy the file after the run")
    if system in _PASSING:
        remedy = "name a folder on a disk with --out, or copy the results after the run"
        return Finding(check, "warning", f"{system}: {_PASSING[system]}", remedy)
    if system in _WITHOUT_RIGHTS:
        text = f"{system}: no journal of its own for a power cut, and everybody may read it"
        return Finding(check, "warning", text, "use a disk with ext4")
    return Finding(check, "ok", f"{system}, a local disk")


def room_finding(free: int, nodes: int | None, hours: float) -> Finding:
    """Judge the room for a run.

    Args:
        free: bytes that may still be written.
        nodes: files that can still be made; None where there is no such limit.
        hours: how long the run is to last.
    """
    most_nodes = float("inf") if nodes is None else nodes / PICTURES_PER_HOUR
    without = free / RESULTS_PER_HOUR
    pictures = min(free / (RESULTS_PER_HOUR + PICTURE * PICTURES_PER_HOUR), most_nodes)
    text = f"{free // MEGABYTE:,} MB free: about {_hours(without)} of results at 10 frames/s"
    text += f", {_hours(pictures)} with a picture of every frame"
    remedy = "delete old runs (`qlvit-edge results delete`) or pictures, or use a larger disk"
    if free < LEAST_FREE:
        return Finding("disk", "fail", text, remedy)
    if nodes is not None and nodes < LEAST_NODES:
        return Finding("disk", "fail", f"only {counted(nodes, 'file')} can be made", remedy)
    if without < hours:
        return Finding("disk", "warning", f"{text}; {hours:g} h are asked for", remedy)
    if pictures < hours:
        text += f"; for {hours:g} h keep no picture of every frame"
    return Finding("disk", "ok", text)


def _hours(hours: float) -> str:
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.1f} h"


def check_results(place: Place) -> list[Finding]:
    """Is the results file one, does another run write to it, and is it whole?"""
    path = place.results
    if path is None:
        why = "name it with --out"
        return [Finding("results file", "not checked", why)]
    return results_findings(path)


def results_findings(path: Path) -> list[Finding]:
    """Judge a results file as it lies there; nothing is written."""
    check = "results file"
    try:
        size = path.stat().st_size
        if not path.is_file():
            return [Finding(check, "fail", f"{path} is no file", "name a file with --out")]
        with path.open("rb") as stream:
            head = stream.read(len(_HEAD))
            held = _is_held(stream.fileno())
    except FileNotFoundError:
        return [Finding(check, "ok", f"{path} is not there yet: a run makes it")]
    except OSError as error:
        text = f"{path} cannot be read ({(error.strerror or str(error)).lower()})"
        return [Finding(check, "fail", text, f"sudo chown $USER {path}, or name another file")]
    if head not in (b"", _HEAD):
        return [Finding(check, "fail", f"{path} is not a results file", "name another file")]
    if not os.access(path, os.W_OK):
        text = f"{path} cannot be written by this user"
        return [Finding(check, "fail", text, f"sudo chown $USER {path}, or name another file")]
    found = [_holding(held)]
    return [*found, _whole(path, size)] if head else [*found, _empty(path)]


def _holding(held: bool | None) -> Finding:
    if held is None:
        text = "its file system has no locks, so that two runs could write at once"
        return Finding("other runs", "fail", text, "name a file on a local disk")
    if held:
        remedy = "wait until it has ended, or name another file"
        return Finding("other runs", "warning", "a run is writing to the results file", remedy)
    return Finding("other runs", "ok", "none is writing to the results file")


def _empty(path: Path) -> Finding:
    return Finding("results file", "ok", f"{path} is empty: a run fills it")


def _whole(path: Path, size: int) -> Finding:
    from qlvit_edge.review.verifying import findings_in

    check = "results file"
    if size > LARGEST_VERIFIED:
        why = f"{size // MEGABYTE:,} MB take longer: `qlvit-edge results verify {path}`"
        return Finding(check, "not checked", why)
    try:
        wrong = findings_in(path)
    except DataError as error:
        text, _, remedy = str(error).partition("; ")
        if "it holds no run" in text:
            return _empty(path)
        return Finding(check, "fail", text, remedy)
    if wrong:
        more = f" and {counted(len(wrong) - 1, 'other thing')}" if len(wrong) > 1 else ""
        remedy = "keep a copy, use another file, and see `qlvit-edge results verify`"
        return Finding(check, "fail", f"{path}: {wrong[0]}{more}", remedy)
    return Finding(check, "ok", f"{path} is whole ({size / MEGABYTE:.1f} MB)")


def _is_held(descriptor: int) -> bool | None:
    """Tell whether a run holds the file; None where there are no locks.

    A shared lock, given back at once: it keeps nobody from reading.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
