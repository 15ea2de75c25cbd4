"""systemd's notification protocol: datagrams of ``NAME=value`` lines to a Unix socket.

See sd_notify(3). The protocol is a few lines, and has not changed since 2010: a library for it
would be one more thing to audit on a device.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from qlvit_edge.credentials import masked
from qlvit_edge.text import plain

MOST_STATUS_LETTERS = 300

_SEND_SECONDS = 1.0
"""A manager whose queue is full for so long is not told; no run waits for it."""


class Notifier:
    """Tells a service manager; does nothing where there is none.

    Attributes:
        is_supervised: whether somebody listens.
        watchdog_seconds: after which silence the manager takes this process for dead; None where
            it does not watch.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read where to speak, and how often.

        Args:
            environment: of the process; None: its own.
        """
        found = os.environ if environment is None else environment
        self._address = _address(found.get("NOTIFY_SOCKET", ""))
        self.is_supervised = self._address is not None
        self.watchdog_seconds = _watchdog_seconds(found) if self.is_supervised else None

    def ready(self, status: str) -> None:
        """Say that the start, or a start with a new configuration, is over."""
        self._send("READY=1", _status(status), *self._pulse())

    def alive(self, status: str) -> None:
        """Say that the process is alive, and what it does."""
        self._send(_status(status), *self._pulse())

    def reloading(self, status: str) -> None:
        """Say that the process starts again with a new configuration; `ready` follows."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", _status(status), *self._pulse())

    def stopping(self, status: str) -> None:
        """Say that the process is about to end."""
        self._send("STOPPING=1", _status(status))

    def _pulse(self) -> tuple[str, ...]:
        return () if self.watchdog_seconds is None else ("WATCHDOG=1",)

    def _send(self, *lines: str) -> None:
        """Send one datagram; a manager that is gone, or does not take it, ends no run."""
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.settimeout(_SEND_SECONDS)
            speaker.sendto("\n".join(lines).encode(), self._address)


def _address(named: str) -> str | bytes | None:
    """Return the socket's address: a path, or an abstract name, which ``@`` stands for."""
    if named.startswith("@") and len(named) > 1:
        return b"\0" + os.fsencode(named[1:])
    return named if named.startswith("/") else None


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return how long the manager waits for a sign; None where it watches another process."""
    process = environment.get("WATCHDOG_PID", "")
    text = environment.get("WATCHDOG_USEC", "")
    if process and process != str(os.getpid()):
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text) > 0):
        return None
    return int(text) / 1e6


def _status(text: str) -> str:
    return f"STATUS={plain(masked(text))[:MOST_STATUS_LETTERS]}"
