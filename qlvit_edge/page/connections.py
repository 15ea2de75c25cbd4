"""Limits on connections: a client that says nothing or never reads takes nothing from the run."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 64
"""Open at a time. The run needs file descriptors too."""

FROM_ONE = 16
"""Of these, from one address; a browser opens six."""

QUIET_SECONDS = 10.0
"""A connection on which no new request comes for so long is cut, unless it takes an answer."""


LEAST_READ = 2**16
"""Bytes that a client takes in this time of a long answer, or it is cut all the same."""

_BUSY = "qlvit_edge.busy"


@contextmanager
def busy(scope: Scope) -> Iterator[None]:
    """Keep a request's connection while its answer is being made."""
    scope[_BUSY] = True
    try:
        yield
    finally:
        scope[_BUSY] = False


def neighbourhood(address: str) -> str:
    """Return what one client may well have all of: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class Listener(socket.socket):
    """A listening socket that closes at once what is too many, before TLS or HTTP begins."""

    def __init__(self, listening: socket.socket) -> None:
        """Listen with a descriptor of its own.

        Args:
            listening: the socket; it stays open when this one is closed.
        """
        super().__init__(fileno=os.dup(listening.fileno()))
        self._accepted: list[tuple[socket.socket, str]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection and where it is from.

        Raises:
            ConnectionAbortedError: it was one too many.
            BlockingIOError: there is none.
        """
        connection, peer = super().accept()
        origin = neighbourhood(str(peer[0]))
        self._accepted = [(one, of) for one, of in self._accepted if one.fileno() != -1]
        same = sum(of == origin for _, of in self._accepted)
        if len(self._accepted) >= CONNECTIONS or same >= FROM_ONE:
            connection.close()
            raise ConnectionAbortedError
        self._accepted.append((connection, origin))
        return connection, peer


class Protocol(H11Protocol):
    """HTTP that does not wait for slow clients: those that send bit by bit, or never read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and look now and then whether something new came."""
        super().connection_made(transport)
        self.loop.call_later(QUIET_SECONDS, self._look, None, 0)

    def _look(self, before: object, unread: int) -> None:
        if self not in self.connections:
            return
        left = self.transport.get_write_buffer_size()
        reads = left > unread or unread - left >= LEAST_READ
        works = self.cycle is not None and self.cycle.scope.get(_BUSY, False)
        if self.cycle is before and not reads and not works:
            self.transport.abort()  # close() would wait for a client that never reads
            return
        self.loop.call_later(QUIET_SECONDS, self._look, self.cycle, left)
