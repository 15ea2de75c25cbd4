"""What is connected and who may use it: video devices, the service."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.configuration.last_good import EDITED, GOOD, content_of
from qlvit_edge.doctor.finding import Finding, Place, State, read
from qlvit_edge.text import counted, plain

_UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_STATES: dict[str, State] = {"active": "ok", "activating": "warning", "failed": "fail"}


@dataclass(frozen=True)
class Person:
    """Who runs this: number of the user, and numbers of the groups of this session."""

    user: int
    groups: frozenset[int]

    @classmethod
    def here(cls) -> Person:
        """Whoever runs this process."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


def check_video(place: Place) -> list[Finding]:
    """May this user read the video devices?"""
    return [video_finding(place, Person.here())]


def video_finding(place: Place, person: Person) -> Finding:
    """Judge whether a person is in the group that owns the cameras."""
    check = "group video"
    if person.user == 0:
        return Finding(check, "ok", "not needed: this is root")
    group = _group(place.root, "video")
    if group is None:
        return Finding(check, "not checked", "this system has no such group")
    number, members = group
    if number in person.groups:
        return Finding(check, "ok", "this user is in it")
    if _name(place.root, person.user) in members:
        remedy = "log in again: a session keeps the groups that it began with"
        return Finding(check, "warning", "this user is in it, this session is not yet", remedy)
    devices = len(list((place.root / "dev").glob("video*")))
    local = (place.camera or "").startswith(("usb:", "picamera2"))
    remedy = "sudo usermod -aG video $USER, then log in again"
    text = "this user is not in it"
    if local or devices:
        text += f", and may not read {counted(devices, 'video device')}" if devices else ""
        return Finding(check, "fail" if local else "warning", text, remedy)
    return Finding(check, "ok", f"{text}, and no camera is connected that would need it")


def _group(root: Path, name: str) -> tuple[int, list[str]] | None:
    for line in (read(root / "etc/group") or "").splitlines():
        parts = line.split(":")
        if len(parts) == 4 and parts[0] == name and parts[2].isdecimal():
            return int(parts[2]), parts[3].split(",")
    return None


def _name(root: Path, user: int) -> str:
    for line in (read(root / "etc/passwd") or "").splitlines():
        parts = line.split(":")
        if len(parts) == 7 and parts[2] == str(user):
            return parts[0]
    return os.environ.get("USER", "")


def check_service(place: Place) -> list[Finding]:
    """Is a service installed, and how is it?"""
    units = sorted(
        {path.name for folder in _UNITS for path in (place.root / folder).glob("qlvit-edge*")}
    )
    units = [name for name in units if name.endswith(".service")]
    if not units:
        return [Finding("service", "not checked", "none is installed")]
    return [service_finding(name, unit_state(name)) for name in units]


def check_configuration(place: Place) -> list[Finding]:
    """Does the service run with what was edited?"""
    edited, good = (place.root / path.relative_to("/") for path in (EDITED, GOOD))
    return [configuration_finding(edited, good)]


def configuration_finding(edited: Path, good: Path) -> Finding:
    """Judge whether the file that people edit is the one that passed last.

    Args:
        edited: the file.
        good: the copy that the service starts from.
    """
    check = "configuration"
    wanted, taken = content_of(edited), content_of(good)
    if wanted is None or taken is None:
        missing = edited if wanted is None else good
        return Finding(check, "not checked", f"{missing} is not there, or not for this user")
    if wanted == taken:
        return Finding(check, "ok", f"{edited} is what the service starts with")
    text = f"{edited} is not what the service starts with: it was not taken over, or is bad"
    remedy = f"`qlvit-edge config check {edited}`, then `sudo systemctl reload qlvit-edge`"
    return Finding(check, "warning", text, remedy)


def unit_state(name: str) -> str | None:
    """Ask systemd for a unit's state; None where it does not answer."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, "is-active", name], capture_output=True, text=True, timeout=3, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return plain(asked.stdout.strip()) or None


def service_finding(name: str, state: str | None) -> Finding:
    """Judge a unit by what `systemctl is-active` says of it."""
    if state is None:
        return Finding("service", "not checked", f"systemd does not tell of {name}")
    judged = _STATES.get(state, "warning")
    if judged == "ok":
        return Finding("service", judged, f"{name} is {state}")
    remedy = f"journalctl -u {name} -e says why"
    if state == "inactive":
        remedy = f"sudo systemctl enable --now {name}, if it is to run"
    return Finding("service", judged, f"{name} is {state}", remedy)
