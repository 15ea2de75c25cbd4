"""An emulated device with the service on it: what the checks ask of it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

from machine import GuestError, Machine

PROGRAM = "/usr/local/bin/qlvit-edge"
PACKAGE = "/opt/qlvit-edge/venv/lib/python3.11/site-packages/qlvit_edge"
DATA = "/var/lib/qlvit-edge"
RESULTS = f"{DATA}/results.sqlite"
BUNDLES = "/root/bundles"
PAGE_PORT = 8321
PATIENCE = 1800
"""Seconds that anything may take: one inference takes a hundred times as long as on a device."""

_ROWS = """
import json, sqlite3, sys
file = sqlite3.connect("file:{}?mode=ro".format(sys.argv[1]), uri=True)
print(json.dumps(file.execute(sys.argv[2]).fetchall()))
"""


class Device:
    """A provisioned device.

    Attributes:
        machine: the machine that it is.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def property(self, name: str) -> str:
        """Return what systemd says of the service."""
        return self.machine.run(f"systemctl show -p {name} --value qlvit-edge").strip()

    def processes(self) -> dict[int, str]:
        """Return all processes of the service: number → its command line."""
        lines = self.machine.run(
            "for p in $(cat /sys/fs/cgroup/system.slice/qlvit-edge.service/cgroup.procs);"
            " do echo $p $(tr '\\0' ' ' </proc/$p/cmdline); done"
        ).splitlines()
        return {int(line.split()[0]): " ".join(line.split()[1:]) for line in lines}

    def query(self, statement: str) -> list[Any]:
        """Return the rows that a statement finds in the service's results; none without a file."""
        return self.query_of(RESULTS, statement)

    def query_of(self, file: str, statement: str) -> list[Any]:
        """Return the rows that a statement finds in a results file; none without a file."""
        code, out, error = self.machine.attempt(
            f"test ! -e {file} || python3 -c {shlex.quote(_ROWS)} {file} {shlex.quote(statement)}"
        )
        if code != 0 and "no such table" in error:
            return []
        if code != 0:
            raise GuestError(f"{statement}: {error}")
        rows: list[Any] = json.loads(out or "[]")
        return rows

    def frames(self) -> int:
        """Return how many frames are stored, of all runs."""
        rows = self.query("SELECT count(*) FROM frames")
        return int(rows[0][0]) if rows else 0

    def wait_for_frames(self, more: int, seconds: float = PATIENCE) -> int:
        """Wait until so many more frames are stored than now; returns how many there are."""
        wanted = self.frames() + more
        self.wait(f"{more} more frames", lambda: self.frames() >= wanted, seconds)
        return self.frames()

    def wait(self, what: str, is_so: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Wait until something is so; returns the seconds that took.

        Raises:
            GuestError: it did not come, with the end of the service's journal.
        """
        began = time.monotonic()
        while not is_so():
            if time.monotonic() - began > seconds:
                raise GuestError(f"{what}: not after {seconds:.0f} s\n{self.journal(30)}")
            time.sleep(3)
        return time.monotonic() - began

    def journal(self, lines: int = 200) -> str:
        """Return the newest lines that the service wrote, of all boots."""
        return self.machine.run(f"journalctl -q -u qlvit-edge -n {lines} --no-pager -o cat")

    def program(self, arguments: str) -> tuple[int, str, str]:
        """Run our program as the user of the service, in its folder."""
        return self.machine.attempt(
            f"cd {DATA} && runuser -u qlvit-edge -- {PROGRAM} {arguments}", seconds=PATIENCE
        )

    def models(self) -> dict[str, Any]:
        """Return what `models status` says."""
        code, out, error = self.program("models status --json")
        if code != 0:
            raise GuestError(f"models status: {code} {error}")
        status: dict[str, Any] = json.loads(out)
        return status

    def active_model(self) -> dict[str, Any] | None:
        """Return the slot of the active model."""
        status = self.models()
        slot: dict[str, Any] | None = status["slots"].get(status["active"])
        return slot

    def wait_until_good(self) -> float:
        """Wait until the active model is marked good; returns the seconds that took."""

        def is_good() -> bool:
            slot = self.active_model()
            return slot is not None and slot["standing"] == "good"

        return self.wait("the model is marked good", is_good)
