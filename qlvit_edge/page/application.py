"""The page's answers over HTTP: fixed names, sessions, and limits on what is asked."""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qlvit_edge.page.access import Access
from qlvit_edge.page.address import Address, is_own_host
from qlvit_edge.page.door import LARGEST_BODY, Door
from qlvit_edge.page.door import body as _body
from qlvit_edge.page.door import refusal as _refusal
from qlvit_edge.page.reviewing import Reviewing
from qlvit_edge.page.state import View

__all__ = ["LARGEST_BODY", "Answers", "Gate", "application"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


class Gate:
    """Refuses foreign host names and adds the headers."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and is_own_host(hosts[0].decode("latin-1"), self._address):
            await self._app(scope, receive, send_on)
            return
        answer = _refusal(421, "this server is not known by that name")
        await answer(scope, receive, send_on)


class Answers:
    """The routes of the page of one run."""

    def __init__(self, view: View, door: Door) -> None:
        """Prepare the answers.

        Args:
            view: what is shown.
            door: who may see it.
        """
        self._view, self._door = view, door
        folder = files("qlvit_edge.page").joinpath("static")
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind)
            for path, (name, kind) in _FILES.items()
        }

    def routes(self) -> list[Route]:
        """Return all there is; none of them names a file by what the network says."""
        return [
            *(Route(path, self._file, methods=["GET"]) for path in self._files),
            Route("/api/state", self._state, methods=["GET"]),
            Route("/api/frame", self._frame, methods=["GET"]),
            Route("/api/pause", self._pause, methods=["POST"]),
        ]

    async def _file(self, request: Request) -> Response:
        content, kind = self._files[request.url.path]
        return Response(content, media_type=kind)

    async def _state(self, request: Request) -> Response:
        if self._csrf(request) is None:
            return _refusal(401, "log in first")
        return JSONResponse(await run_in_threadpool(self._view.state))

    async def _frame(self, request: Request) -> Response:
        """The newest frame; nothing (204) if the client has it already."""
        if self._csrf(request) is None:
            return _refusal(401, "log in first")
        found = await run_in_threadpool(self._view.picture)
        if found is None or request.query_params.get("after") == str(found[0]):
            return Response(status_code=204)
        index, taken, jpeg = found
        age = f"{time.monotonic() - taken:.3f}"
        return Response(
            jpeg, media_type="image/jpeg", headers={"x-frame": str(index), "x-age": age}
        )

    async def _pause(self, request: Request) -> Response:
        """Stop counting, or go on."""
        if not self._door.may_change(request):
            return _refusal(403, "reload the page and try again")
        body = await _body(request)
        if body is None:
            return _refusal(413, "that is too long")
        paused = body.get("paused")
        if not isinstance(paused, bool):
            return _refusal(400, "say whether to pause")
        self._view.pause(paused)
        return JSONResponse({"paused": paused})

    def _csrf(self, request: Request) -> str | None:
        return self._door.csrf(request)


def application(
    view: View | None,
    access: Access,
    address: Address,
    *,
    secure: bool,
    results: Path | None = None,
) -> Starlette:
    """Return the page as an ASGI application.

    Args:
        view: what is shown of a run that goes on; None to review a results file only.
        access: who may see it.
        address: where it is served, as the user wrote it.
        secure: whether over TLS.
        results: the results file; None for that of the run.
    """
    door = Door(access, secure=secure)
    routes = [Route("/api/session", door.session, methods=["GET", "POST"])]
    if view is not None:
        routes += Answers(view, door).routes()
        results = view.session.settings.out if results is None else results
    if results is not None:
        routes += Reviewing(results, door, live=view is not None).routes()
    return Starlette(routes=routes, middleware=[Middleware(Gate, address=address)])
