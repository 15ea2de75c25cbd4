"""A signed model brought to a device: copied, installed, validated there, the report brought back.

Each step can be done again: a copy goes on where it stopped, a model that is installed is left
alone. So what to do after a cut is always the same: run it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlvit_edge.deployment.parcel import FOLDER, Parcel
from qlvit_edge.deployment.ssh import PIECE, Answer, Device
from qlvit_edge.errors import DeviceError, GateError
from qlvit_edge.files import sha256_of_file, write_bytes
from qlvit_edge.progress import Progress
from qlvit_edge.text import counted, plain

STAGING = ".cache/qlvit-edge/deploy"
"""Folder in the home of who logs in that copies go to."""

UNIT = "qlvit-edge.service"

REPORT_FILES = ("report.json", "predictions.json", "index.html")
"""What `validate` leaves and is brought back."""

MOST_VERDICT = 2000
"""Letters of a device's verdict that are shown."""

MOST_ATTEMPTS = 2
"""Copies of a file that are made before its hash must be right."""


@dataclass(frozen=True)
class Manner:
    """How a model is deployed.

    Attributes:
        program: the command on the device.
        as_root: whether the device's `sudo` is asked to install, restart and validate.
        allow_downgrade: whether an older version than the one there is taken.
        restart: whether a service that runs there is restarted with the new model.
        keep: whether a model stays that does not pass validation there.
    """

    program: str = "qlvit-edge"
    as_root: bool = False
    allow_downgrade: bool = False
    restart: bool = True
    keep: bool = False


class Deployment:
    """What is done on one device for one bundle."""

    def __init__(
        self,
        device: Device,
        manner: Manner,
        *,
        say: Callable[[str], None],
        progress: Progress,
    ) -> None:
        """Note how; nothing is sent yet.

        Args:
            device: where the model goes.
            manner: see there.
            say: is told what was done, a line at a time.
            progress: makes the bars of the copies.
        """
        self._device, self._manner = device, manner
        self._say, self._progress = say, progress

    def look(self) -> str:
        """Ask the device what it is; returns its architecture.

        Raises:
            DeviceError: it cannot be reached, or has no `qlvit-edge`.
        """
        machine = self._device.done("uname", "-m").decode("ascii", "replace").strip()
        answer = self._device.run(self._manner.program, "--version")
        lines = answer.output.decode("utf-8", "replace").splitlines()
        if answer.code or not lines:
            raise DeviceError(
                self._device.address,
                f"has no {self._manner.program} ({answer.last_line or 'it says nothing'})",
                "provision it with firmware_scripts/install.sh, or name the program with --program",
            )
        version = lines[0].removeprefix("qlvit-edge, version ")
        self._say(f"device: {self._device.address} ({plain(machine)}, qlvit-edge {plain(version)})")
        return machine

    def install(self, bundle: Path) -> None:
        """Copy a bundle and have it installed.

        Raises:
            DeviceError: the connection failed, or the device refused the model.
            GateError: the model did not pass its tests there; the one before is still in use.
        """
        path = self._copied(bundle, "bundle", ".qlvit")
        extra = ("--allow-downgrade",) if self._manner.allow_downgrade else ()
        answer = self._own("models", "install", path, *extra, "--json")
        if answer.code == 1:
            raise GateError(
                self._device.address,
                f"the model did not pass its tests there ({_finding(answer)})",
                "the model before it is still in use",
            )
        found = _json(self._device, answer, "models install")
        self._device.run("rm", "-f", "--", path)
        name, version = plain(str(found.get("name"))), plain(str(found.get("version")))
        slot, key = plain(str(found.get("slot"))), plain(str(found.get("key")))
        self._say(f"{found.get('outcome')}: {name} {version} in slot {slot}, signed by {key}")

    def validate(
        self, parcel: Parcel, out: Path, compare: Path | None, options: tuple[str, ...]
    ) -> None:
        """Validate the installed model there, on these images, and bring the report here.

        Args:
            parcel: labelled images.
            out: folder for the report.
            compare: predictions.json of this machine for the same model and images, or None.
            options: further options of `validate` there.

        Raises:
            DeviceError: the connection or the command failed.
            GateError: the device's verdict is that the model may not be used; the report is here,
                and the model before it is in use again.
        """
        path = self._copied(parcel.path, counted(parcel.images, "image"), ".tar")
        if compare is not None:
            options = (*options, "--compare", self._copied(compare, "predictions", ".json"))
        place = path.removesuffix(".tar")
        self._device.done("rm", "-rf", "--", place)
        self._device.done("mkdir", "-p", "--", place)
        self._device.done("tar", "-xf", path, "-C", place)
        report = f"{place}/report"
        answer = self._own(
            *("validate", "installed", "--data", f"{place}/{FOLDER}", "--out", report), *options
        )
        if answer.code not in (0, 1):
            raise DeviceError(
                self._device.address, f"validate failed there ({_finding(answer)})", "mend it there"
            )
        for name in REPORT_FILES:
            write_bytes(out / name, self._read(f"{report}/{name}"))
        self._own_rm(place)
        self._device.run("rm", "-f", "--", path)
        self._say(f"verdict: {_verdict(out / REPORT_FILES[0])}")
        self._say(f"report: {out / REPORT_FILES[-1]}")
        if answer.code:
            raise GateError(
                self._device.address,
                f"the model may not be used there ({_verdict(out / REPORT_FILES[0])})",
                self._undone(),
            )

    def restart(self) -> None:
        """Restart the service with the model, where it runs.

        Raises:
            DeviceError: the connection failed, or the service does not come back.
        """
        active = self._device.run("systemctl", "is-active", "--quiet", UNIT)
        if active.code:
            self._say(f"service: {UNIT} does not run there; `run installed` takes the model")
            return
        answer = self._device.run(*self._root(), "systemctl", "restart", UNIT)
        if answer.code:
            raise DeviceError(
                self._device.address,
                f"{UNIT} could not be restarted ({answer.last_line})",
                "restart it there, or let --sudo do it",
            )
        self._say(f"service: {UNIT} restarted")

    def _root(self) -> tuple[str, ...]:
        return ("sudo", "-n") if self._manner.as_root else ()

    def _own(self, *words: str) -> Answer:
        """Run a command of ours on the device."""
        return self._device.run(*self._root(), self._manner.program, *words)

    def _own_rm(self, folder: str) -> None:
        """Remove what a command of ours left there."""
        self._device.run(*self._root(), "rm", "-rf", "--", folder)

    def _read(self, path: str) -> bytes:
        return self._device.done(*self._root(), "cat", "--", path)

    def _undone(self) -> str:
        """Go back to the model before; returns what was done, in words."""
        if self._manner.keep:
            return "it is in use all the same (--keep)"
        if not _has_one_before(self._own("models", "status", "--json")):
            return "there is no model to go back to that has not failed: take it out of use"
        answer = self._own("models", "rollback", "--json")
        if answer.code:
            return f"there is no model to go back to ({_finding(answer)}): take it out of use"
        if self._manner.restart:
            self.restart()
        return "the model before it is in use again"

    def _copied(self, file: Path, what: str, ending: str) -> str:
        """Copy a file there, or what is missing of it; returns its path."""
        wanted, size = sha256_of_file(file), file.stat().st_size
        path = f"{STAGING}/{wanted}{ending}"
        self._device.done("mkdir", "-p", "-m", "700", "--", STAGING)
        for _ in range(MOST_ATTEMPTS):
            there = self._device.size(path)
            if there is not None and there > size:
                self._device.done("rm", "-f", "--", path)
                there = None
            start = there or 0
            if start < size:
                self._send(file, path, start, size)
            if self._device.hash_of(path) == wanted:
                self._say(f"{what}: {_amount(size)}, {_manner_of(start, size)}")
                return path
            self._device.done("rm", "-f", "--", path)
        raise DeviceError(
            self._device.address, f"{what}: what arrives is not what was sent", "check its disk"
        )

    def _send(self, file: Path, path: str, start: int, size: int) -> None:
        pieces = -(-(size - start) // PIECE)
        with file.open("rb") as opened, self._progress("copying", pieces) as advance:
            opened.seek(start)
            self._device.append(opened, path, advance)


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _manner_of(start: int, size: int) -> str:
    if start == 0:
        return "copied"
    return "was there" if start == size else f"copied from {_amount(start)} on"


def _finding(answer: Answer) -> str:
    return answer.last_line.removeprefix("error: ") or f"exit code {answer.code}"


def _has_one_before(answer: Answer) -> bool:
    """Whether a device's store holds a model to go back to: whole, and not one that failed.

    Args:
        answer: what `models status --json` left there.
    """
    try:
        found = json.loads(answer.output)
        (other,) = [slot for name, slot in found["slots"].items() if name != found["active"]]
        return other is not None and other["usable"] is True and other["standing"] != "failed"
    except (ValueError, TypeError, LookupError, AttributeError):
        return False


def _json(device: Device, answer: Answer, command: str) -> dict[str, Any]:
    """What a command of ours printed.

    Raises:
        DeviceError: it failed, or printed something else.
    """
    if answer.code:
        raise DeviceError(
            device.address, f"{command} failed there ({_finding(answer)})", "mend it there"
        )
    try:
        found = json.loads(answer.output)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DeviceError(
            device.address,
            f"{command} answers with something else than JSON",
            "update qlvit-edge there",
        )
    return found


def _verdict(report: Path) -> str:
    """What a report says of the model, in words."""
    try:
        found = json.loads(report.read_bytes())
        verdict = found["verdict"]
        return plain(f"{verdict['outcome']}: {verdict['sentence']}")[:MOST_VERDICT]
    except (ValueError, TypeError, KeyError):
        return "the report does not say why"
