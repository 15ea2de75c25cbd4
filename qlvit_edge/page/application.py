"""The page's answers over HTTP: fixed names, sessions, and limits on what is asked."""

from __future__ import annotations

import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.page.access import Access
from qlvit_edge.page.address import Address, is_own_host
from qlvit_edge.page.barcode import barcode_in, is_installed
from qlvit_edge.page.door import LARGEST_BODY, Door
from qlvit_edge.page.door import body as _body
from qlvit_edge.page.door import refusal as _refusal
from qlvit_edge.page.orders import Sample
from qlvit_edge.page.reviewing import Reviewing
from qlvit_edge.page.state import View
from qlvit_edge.page.static_files import CSS, HTML, SCRIPT, StaticFiles
from qlvit_edge.review.names import required

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
    "/": ("index.html", HTML),
    "/page.css": ("page.css", CSS),
    **{
        f"/{name}": (name, SCRIPT)
        for name in ("page.js", "sample.js", "slide.js", "growth.js", "uPlot.iife.min.js")
    },
    "/uPlot.min.css": ("uPlot.min.css", CSS),
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
        self._files = StaticFiles(_FILES)

    def routes(self) -> list[Route]:
        """Return all there is; none of them names a file by what the network says."""
        return [
            *self._files.routes(),
            Route("/api/state", self._state, methods=["GET"]),
            Route("/api/frame", self._frame, methods=["GET"]),
            Route("/api/slide", self._slide, methods=["GET"]),
            Route("/api/growth", self._growth, methods=["GET"]),
            Route("/api/pause", self._pause, methods=["POST"]),
            Route("/api/run", self._run, methods=["POST"]),
            Route("/api/barcode", self._barcode, methods=["POST"]),
        ]

    async def _state(self, request: Request) -> Response:
        if self._csrf(request) is None:
            return _refusal(401, "log in first")
        state = await run_in_threadpool(self._view.state)
        return JSONResponse({**state, "barcodes": is_installed()})

    async def _frame(self, request: Request) -> Response:
        """The newest frame; nothing (204) if the client has it already."""
        if self._csrf(request) is None:
            return _refusal(401, "log in first")
        found = await run_in_threadpool(self._view.picture)
        if found is None or request.query_params.get("after") == found.name:
            return Response(status_code=204)
        headers = {
            "x-picture": found.name,
            "x-frame": str(found.index),
            "x-age": f"{time.monotonic() - found.taken:.3f}",
            "x-cells": found.cells,
        }
        return Response(found.jpeg, media_type="image/jpeg", headers=headers)

    async def _slide(self, request: Request) -> Response:
        """The slide's map; nothing (204) where cells are not counted once."""
        if self._csrf(request) is None:
            return _refusal(401, "log in first")
        found = await run_in_threadpool(self._view.slide)
        return Response(status_code=204) if found is None else JSONResponse(found)

    async def _growth(self, request: Request) -> Response:
        """The counts over time."""
        if self._csrf(request) is None:
            return _refusal(401, "log in first")
        return JSONResponse(await run_in_threadpool(self._view.growth.curves))

    async def _change(self, request: Request) -> dict[str, object] | Response:
        """What a change says; a refusal, if it may not be made."""
        if not self._door.may_change(request):
            return _refusal(403, "reload the page and try again")
        body = await _body(request)
        return _refusal(413, "that is too long") if body is None else body

    async def _run(self, request: Request) -> Response:
        """End the run, begin another one, or end the program."""
        body = await self._change(request)
        if isinstance(body, Response):
            return body
        orders, run, action = self._view.orders, body.get("run"), body.get("action")
        if not isinstance(run, int) or isinstance(run, bool):
            return _refusal(400, "say which run")
        if action == "begin":
            try:
                sample = _sample(body)
            except QLViTEdgeError as error:
                return _refusal(422, str(error))
            done = orders.begin(run, sample)
        elif action in ("stop", "end"):
            done = (orders.stop if action == "stop" else orders.end)(run)
        else:
            return _refusal(400, "say what to do")
        if not done:
            return _refusal(409, "that run is over, or another one has begun: look again")
        return JSONResponse({"action": action})

    async def _barcode(self, request: Request) -> Response:
        """What the barcode in the live picture says."""
        body = await self._change(request)
        if isinstance(body, Response):
            return body
        shown = self._view.session.newest
        if shown is None or self._view.over:
            return _refusal(409, "barcode: no live picture; type the ID")
        try:
            return JSONResponse({"text": await run_in_threadpool(barcode_in, shown[0].image)})
        except QLViTEdgeError as error:
            return _refusal(422, str(error))

    async def _pause(self, request: Request) -> Response:
        """Stop counting, or go on."""
        body = await self._change(request)
        if isinstance(body, Response):
            return body
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


def _sample(body: dict[str, object]) -> Sample:
    """Return what the next run is of.

    Raises:
        DataError: a name is missing, too long, or cannot be printed.
    """
    name = required(str(body.get("sample") or ""), "sample's ID")
    operator = str(body.get("operator") or "").strip()
    return Sample(name, required(operator, "operator") if operator else None)
