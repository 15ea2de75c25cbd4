"""Attack on the live page and the review from the network, byte by byte."""

from __future__ import annotations

import re
import socket
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from frame import Finding, Target
from reviewed_run import found, write_run
from tiny_metadata import tiny_file

from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.page.access import Access
from qlvit_edge.page.address import Address
from qlvit_edge.page.application import application
from qlvit_edge.page.server import Server
from qlvit_edge.page.state import View

TOKEN = "the-right-token-of-this-page"
SECRET = b"S-0815"
"""The sample's name: what nobody may read who has not logged in."""

FOREIGN = b"Mallory"
"""In whose name the pages of other sites ask for changes."""

QUIET = 0.05
"""Seconds without an answer after which a request is taken for incomplete."""

CHANGES = (
    b'{"paused": true}',
    b'{"run": 1, "action": "stop"}',
    b'{"run": 1, "action": "begin", "sample": "S-2", "operator": "Eve"}',
    b'{"run": 1, "step": "confirm", "by": "Eve", "cells": [1]}',
    b'{"run": 1, "step": "change", "by": "Eve", "cells": [1], "label": "BLUE", "reason": "so"}',
    b'{"run": 1, "step": "exclude", "by": "Eve", "cells": [2], "reason": "dirt"}',
    b'{"run": 1, "step": "done", "by": "Eve"}',
    b'{"run": 1, "format": "csv", "by": "Eve"}',
)
_WHERE = ("pause", "run", "run", *["review/step"] * 4, "review/export")
_PLACES = (
    *("/", "/review", "/page.js", "/api/state", "/api/frame?after=x", "/api/slide", "/api/growth"),
    *("/api/session", "/api/review/runs", "/api/review/run?run=1", "/api/review/crop?run=1&cell=1"),
    *("/api/review/field?run=1&cell=1", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"),
    *("//etc/passwd", "/static/../index.html", "/page.js%00", "/api/review/crop?run=1&cell=../1"),
)
_WORDS = [
    *(b"\r\n", b"\r\n\r\n", b"Host: evil.example\r\n", b"Transfer-Encoding: chunked\r\n", b"\0"),
    *(b"Content-Length: 99999999999\r\n", b"Content-Length: -1\r\n", b"Cookie: ", b"../", b"%00"),
    *(
        b"X: " + b"a" * 20000 + b"\r\n",
        b"Origin: http://evil.example\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"HTTP/0.9", b"HTTP/2.0", b"\xff", b"[[[["),
]


def request(method: str, place: str, port: int, *more: str, body: bytes = b"") -> bytes:
    """A request as a browser writes it."""
    lines = [f"{method} {place} HTTP/1.1", f"Host: 127.0.0.1:{port}", *more]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class Page:
    """A live page and a review, served on loopback, and what a client gets from it."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results.sqlite"
        write_run(self.results, [found("RED"), found("BLUE", x=30)], keep=folder)
        model = tiny_file(folder / "tiny.tflite")
        view = View(Session(Settings(str(model), "simulated:/nowhere", self.results)))
        self.access = Access(TOKEN)
        self.notes: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = Address("127.0.0.1", free.getsockname()[1])
        self.port = address.port
        app = application(view, self.access, address, secure=False)
        server = Server(
            lambda _access, _secure: app,
            address,
            note=self.notes.append,
            certificate=None,
            meanwhile="",
        )
        server.__enter__()  # until this process ends

    def ask(self, content: bytes) -> bytes:
        """Send bytes, say that no more will come, and return all that is answered."""
        deadline = time.monotonic() + 15
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as link:
                    return self._exchange(link, content)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise

    def _exchange(self, link: socket.socket, content: bytes) -> bytes:
        answer = b""
        try:
            link.sendall(content)
            for seconds in (QUIET, 5.0):
                link.settimeout(seconds)
                try:
                    while more := link.recv(65536):
                        answer += more
                    break
                except TimeoutError:  # an incomplete request: there is no more of it
                    link.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError, OSError):
            pass  # it may hang up on nonsense
        return answer

    def changes_by(self, name: str) -> int:
        """How many records of the review are somebody's."""
        query = "SELECT count(*) FROM reviews WHERE json_extract(content, '$.by') = ?"
        with closing(sqlite3.connect(self.results)) as connection:
            return int(connection.execute(query, (name,)).fetchone()[0])

    def changes(self) -> list[tuple[int]]:
        """What can be changed over the network, as it is."""
        with closing(sqlite3.connect(self.results)) as connection:
            return connection.execute("SELECT count(*) FROM reviews").fetchall()


def _require_well(page: Page, answer: bytes) -> list[int]:
    """Return the statuses of an answer that may be one; raises `Finding` for others."""
    if answer and not answer.startswith(b"HTTP/1.1 "):
        raise Finding(f"no HTTP: {answer[:80]!r}")
    statuses = [int(one) for one in re.findall(rb"(?m)^HTTP/1\.1 (\d{3})", answer)]
    if any(status >= 500 and status != 503 for status in statuses) or b"Traceback" in answer:
        raise Finding(f"the server failed: {answer[:200]!r}")
    if b"root:" in answer:
        raise Finding("a file of the system was given out")
    if page.notes:
        raise Finding(f"it said {page.notes}")
    return statuses


def prepare_strangers(folder: Path) -> tuple[Sequence[bytes], Callable[[bytes], bool]]:
    """Who has no token reads nothing and changes nothing, whatever is sent."""
    page = Page(folder)
    before, asked = page.changes(), [0]

    def examine(content: bytes) -> bool:
        statuses = _require_well(page, answer := page.ask(content))
        if SECRET in answer or b'"csrf"' in answer:
            raise Finding(f"told to a stranger: {answer[-200:]!r}")
        asked[0] += 1
        if asked[0] % 50 == 0:
            well = page.ask(request("GET", "/page.css", page.port))
            if not well.startswith(b"HTTP/1.1 200") or page.changes() != before:
                raise Finding("the page is down, or was changed")
        return 200 in statuses

    seeds = [request("GET", place, page.port) for place in _PLACES]
    seeds += [
        request("POST", f"/api/{where}", page.port, "Content-Type: application/json", body=body)
        for where, body in zip(_WHERE, CHANGES, strict=True)
    ]
    seeds.append(request("POST", "/api/session", page.port, body=b'{"token": "wrong"}'))
    forged = (f"Cookie: session-{page.port}=" + "A" * 43, "X-CSRF-Token: " + "A" * 43)
    seeds += [request("GET", "/api/state", page.port, *forged)]
    seeds += [request("POST", "/api/pause", page.port, *forged, body=CHANGES[0])]
    return seeds, examine


def prepare_readers(folder: Path) -> tuple[Sequence[bytes], Callable[[bytes], bool]]:
    """Who is logged in may send anything: every answer is one, and another site changes nothing."""
    page = Page(folder)
    session = page.access.log_in("127.0.0.1", TOKEN) or ""
    csrf = page.access.csrf_of(session) or ""
    mine = (f"Cookie: session-{page.port}={session}", f"X-CSRF-Token: {csrf}")

    def examine(content: bytes) -> bool:
        if csrf.encode() in content and FOREIGN in content:
            return False  # put together of both: it may change something
        statuses = _require_well(page, page.ask(content))
        if page.changes_by(FOREIGN.decode()):
            raise Finding("another site changed something")
        return 200 in statuses

    seeds = [request("GET", place, page.port, *mine) for place in _PLACES]
    for where, body in zip(_WHERE, CHANGES, strict=True):
        seeds.append(request("POST", f"/api/{where}", page.port, *mine, body=body))
        foreign = body.replace(b"Eve", FOREIGN)
        for evil in ((mine[0], "Origin: http://evil.example"), (mine[0],)):
            seeds.append(request("POST", f"/api/{where}", page.port, *evil, body=foreign))
    return seeds, examine


TARGETS = (
    Target("page-strangers", prepare_strangers, _WORDS, seconds=15),
    Target("page-readers", prepare_readers, _WORDS, seconds=15),
)
