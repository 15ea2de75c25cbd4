"""A laboratory system on loopback that takes HL7 messages over MLLP, well or badly."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

START, END = b"\x0b", b"\x1c\r"


def acknowledgement(control_id: str, code: str = "AA", more: str = "") -> bytes:
    """An acknowledgement as a listener sends it."""
    header = "MSH|^~\\&|LIS||||20261127||ACK^R01^ACK|1|P|2.5.1"
    return START + f"{header}\rMSA|{code}|{control_id}{more}\r".encode() + END


class Lab:
    """A listener; what it does to each connection is said beforehand, then it takes all.

    Attributes:
        seen: every whole message that arrived, also again.
        kept: what it has by control ID: as a receiver has to, it keeps each once.
        connections: how many there were.
    """

    def __init__(self, *manners: str, tls: ssl.SSLContext | None = None) -> None:
        self.manners, self._tls = list(manners), tls
        self.seen: list[bytes] = []
        self.kept: dict[str, bytes] = {}
        self.connections = 0
        self.arrived, self.over = threading.Event(), threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)

    def _listen(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._meet, link, self.manners.pop(0) if self.manners else "AA")

    def _start(self, action: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=action, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _meet(self, link: socket.socket, manner: str) -> None:
        with link, suppress(OSError):
            if self._tls is None:
                self._serve(link, manner)
            else:
                with self._tls.wrap_socket(link, server_side=True) as sealed:
                    self._serve(sealed, manner)

    def _serve(self, link: socket.socket, manner: str) -> None:
        if manner == "dies at once":
            return
        content = b""
        while END not in content:
            more = link.recv(4096)
            if not more:
                return
            content += more
            if manner == "dies half-way":
                return
        message = content.removeprefix(START).removesuffix(END)
        self.seen.append(message)
        control_id = message.split(b"|")[9].decode()
        if manner in ("AA", "CA", "late", "dies before it answers", "half an answer"):
            self.kept.setdefault(control_id, message)
        self.arrived.set()
        for piece in _answers(manner, control_id):
            link.sendall(piece)
        while manner == "drips" and not self.over.wait(0.05):
            link.sendall(b"\x0bM")
        if manner in ("stalls", "late"):
            self.over.wait(20)


def _answers(manner: str, control_id: str) -> list[bytes]:
    good = acknowledgement(control_id)
    return {
        "AA": [good],
        "CA": [START + b"\x06" + END, acknowledgement(control_id, "CA")],
        "AE": [acknowledgement(control_id, "AE", "|unknown sample")],
        "AR": [acknowledgement(control_id, "AR", "\rERR|||207|E||||no such patient")],
        "odd code": [acknowledgement(control_id, "OK")],
        "NAK": [START + b"\x15" + END],
        "of another": [acknowledgement("ANOTHERMESSAGE123456")],
        "garbage": [b"HTTP/1.1 400 Bad Request\r\n\r\n\x1c\r"],
        "no acknowledgement": [START + b"MSH|^~\\&|LIS||||1||ADT^A01|1|P|2.5.1\r" + END],
        "no message": [START + b"\xff\xfe\x1b[31m" + END],
        "endless": [b"x" * 70000],
        "half an answer": [good[:-9]],
    }.get(manner, [])
