"""The page's answers over HTTP: fixed names, sessions, and limits on what is asked."""

from __future__ import annotations

import asyncio
import json
import time
from importlib.resources import files

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
from qlvit_edge.page.orders import Sample
from qlvit_edge.page.state import View
from qlvit_edge.review.names import required

LARGEST_BODY = 4096
BODY_SECONDS = 10.0

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
    **{
        f"/{name}": (name, "text/javascript; charset=utf-8")
        for name in ("page.js", "sample.js", "slide.js", "growth.js", "uPlot.iife.min.js")
    },
    "/uPlot.min.css": ("uPlot.min.css", "text/css; charset=utf-8"),
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

    def __init__(self, view: View, access: Access, *, secure: bool) -> None:
        """Prepare the answers.

        Args:
            view: what is shown.
            access: who may see it.
            secure: whether it is served over TLS.
        """
        self._view, self._access, self._secure = view, access, secure
        folder = files("qlvit_edge.page").joinpath("static")
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind)
            for path, (name, kind) in _FILES.items()
        }

    def routes(self) -> list[Route]:
        """Return all there is; none of them names a file by what the network says."""
        return [
            *(Route(path, self._file, methods=["GET"]) for path in self._files),
            Route("/api/session", self._session, methods=["GET", "POST"]),
            Route("/api/state", self._state, methods=["GET"]),
            Route("/api/frame", self._frame, methods=["GET"]),
            Route("/api/slide", self._slide, methods=["GET"]),
            Route("/api/growth", self._growth, methods=["GET"]),
            Route("/api/pause", self._pause, methods=["POST"]),
            Route("/api/run", self._run, methods=["POST"]),
            Route("/api/barcode", self._barcode, methods=["POST"]),
        ]

    async def _file(self, request: Request) -> Response:
        content, kind = self._files[request.url.path]
        return Response(content, media_type=kind)

    async def _session(self, request: Request) -> Response:
        """Who is asking: the session's word for changes, after the token where one is needed."""
        if _is_foreign(request):
            return _refusal(403, "another site asked for that")
        csrf = self._csrf(request)
        if csrf is not None:
            return JSONResponse({"csrf": csrf})
        client = request.client.host if request.client is not None else ""
        token = ""
        if self._access.token is not None:
            if request.method != "POST":
                return _refusal(401, "this page needs the token that run printed")
            if self._access.is_barred(client):
                return _refusal(429, "too many wrong tokens; wait a minute")
            body = await _body(request)
            if body is None:
                return _refusal(413, "that is too long")
            token = str(body.get("token", ""))
        session = self._access.log_in(client, token)
        if session is None:
            return _refusal(403, "that is not the token")
        answer = JSONResponse({"csrf": self._access.csrf_of(session)})
        answer.set_cookie(
            self._cookie(request),
            session,
            httponly=True,
            samesite="strict",
            secure=self._secure,
            path="/",
        )
        return answer

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
        session = request.cookies.get(self._cookie(request))
        word = request.headers.get("x-csrf-token", "")
        if _is_foreign(request) or not self._access.may_change(session, word):
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
        return self._access.csrf_of(request.cookies.get(self._cookie(request)))

    def _cookie(self, request: Request) -> str:
        """Return the cookie's name; browsers send a host's cookies to all its ports."""
        server = request.scope.get("server")
        port = "" if server is None else server[1]
        return f"{'__Host-' if self._secure else ''}session-{port}"


def application(view: View, access: Access, address: Address, *, secure: bool) -> Starlette:
    """Return the page as an ASGI application.

    Args:
        view: what is shown.
        access: who may see it.
        address: where it is served, as the user wrote it.
        secure: whether over TLS.
    """
    answers = Answers(view, access, secure=secure)
    return Starlette(routes=answers.routes(), middleware=[Middleware(Gate, address=address)])


def _sample(body: dict[str, object]) -> Sample:
    """Return what the next run is of.

    Raises:
        DataError: a name is missing, too long, or cannot be printed.
    """
    name = required(str(body.get("sample") or ""), "sample's ID")
    operator = str(body.get("operator") or "").strip()
    return Sample(name, required(operator, "operator") if operator else None)


def _refusal(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status)


def _is_foreign(request: Request) -> bool:
    """Return whether a page of another site asks: browsers name it with what they send."""
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


async def _body(request: Request) -> dict[str, object] | None:
    """Return what a request says; {} if that is no JSON object, None if it is too long.

    One that does not arrive in `BODY_SECONDS` is too long, too.
    """
    content = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > LARGEST_BODY:
                    return None
    except TimeoutError:
        return None
    try:
        said = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
