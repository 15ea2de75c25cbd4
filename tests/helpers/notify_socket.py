"""A service manager's ear: a real Unix datagram socket that is told what sd_notify(3) tells."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

SECONDS = 20.0


class NotifySocket:
    """Receives what a program says to its service manager.

    Attributes:
        name: what NOTIFY_SOCKET is to be.
        said: the datagrams so far, each as a dictionary.
    """

    def __init__(self, name: Path | str) -> None:
        self.name = str(name)
        self.said: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = "\0" + self.name[1:] if self.name.startswith("@") else self.name
        self._socket.bind(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def hear(self, seconds: float = 0.0) -> list[dict[str, str]]:
        """Take what comes within so many seconds, and return it."""
        until, began = time.monotonic() + seconds, len(self.said)
        while True:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                return self.said[began:]
            self.said.append(dict(line.split("=", 1) for line in text.splitlines()))

    def until(self, wanted: Callable[[dict[str, str]], object]) -> dict[str, str]:
        """Wait for a datagram of a kind, and return it."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for one in self.hear(0.05):
                if wanted(one):
                    return one
        raise AssertionError(f"it was not said; {self.said}")
