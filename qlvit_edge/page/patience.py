"""Connections that keep others waiting are cut: clients that do not read, or never finish asking.

Closing such a connection would first wait for what it has not read yet; it is aborted instead.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0
"""Longest time for reading what was sent, and for sending a whole request's head."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with an end to waiting."""

    _reading: asyncio.TimerHandle | None = None
    _asking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, for so long."""
        super().connection_made(transport)
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Wait on for a request that is not whole yet; no more for one that is."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_request()
        else:
            self._stop_waiting_for_request()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(SECONDS, self._abort)

    def resume_writing(self) -> None:
        """Wait no more: it read."""
        super().resume_writing()
        self._stop_waiting_for_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the waiting."""
        self._stop_waiting_for_reader()
        self._stop_waiting_for_request()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._asking is None:
            self._asking = self.loop.call_later(SECONDS, self._abort)

    def _abort(self) -> None:
        self.transport.abort()

    def _stop_waiting_for_reader(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_waiting_for_request(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
