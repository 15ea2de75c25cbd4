"""What every answer of the page needs: who asks, whether they may change something, and what."""

from __future__ import annotations

import asyncio
import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from qlvit_edge.page.access import Access

LARGEST_BODY = 4096
BODY_SECONDS = 10.0


class Door:
    """The sessions of a page as they stand in requests.

    Attributes:
        access: who may see the page.
        secure: whether it is served over TLS.
    """

    def __init__(self, access: Access, *, secure: bool) -> None:
        self.access, self.secure = access, secure

    async def session(self, request: Request) -> Response:
        """Answer who is asking: with a word for changes, after the token where one is needed."""
        if is_foreign(request):
            return refusal(403, "another site asked for that")
        csrf = self.csrf(request)
        if csrf is not None:
            return JSONResponse({"csrf": csrf})
        client = request.client.host if request.client is not None else ""
        token = ""
        if self.access.token is not None:
            if request.method != "POST":
                return refusal(401, "this page needs the token that was printed")
            if self.access.is_barred(client):
                return refusal(429, "too many wrong tokens; wait a minute")
            said = await body(request)
            if said is None:
                return refusal(413, "that is too long")
            token = str(said.get("token", ""))
        session = self.access.log_in(client, token)
        if session is None:
            return refusal(403, "that is not the token")
        answer = JSONResponse({"csrf": self.access.csrf_of(session)})
        answer.set_cookie(
            self.cookie(request),
            session,
            httponly=True,
            samesite="strict",
            secure=self.secure,
            path="/",
        )
        return answer

    def csrf(self, request: Request) -> str | None:
        """Return the word that the request's session changes something with; None without one."""
        return self.access.csrf_of(request.cookies.get(self.cookie(request)))

    def may_change(self, request: Request) -> bool:
        """Return whether a request is this page's own and carries its session's word."""
        session = request.cookies.get(self.cookie(request))
        word = request.headers.get("x-csrf-token", "")
        return not is_foreign(request) and self.access.may_change(session, word)

    def cookie(self, request: Request) -> str:
        """Return the cookie's name; browsers send a host's cookies to all its ports."""
        server = request.scope.get("server")
        port = "" if server is None else server[1]
        return f"{'__Host-' if self.secure else ''}session-{port}"


def refusal(status: int, text: str) -> JSONResponse:
    """Return an answer that says in one line what is wrong."""
    return JSONResponse({"error": text}, status_code=status)


def is_foreign(request: Request) -> bool:
    """Return whether a page of another site asks: browsers name it with what they send."""
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


async def body(request: Request, largest: int = LARGEST_BODY) -> dict[str, object] | None:
    """Return what a request says; {} if that is no JSON object, None if it is too long.

    One that does not arrive in `BODY_SECONDS` is too long, too.
    """
    content = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > largest:
                    return None
    except TimeoutError:
        return None
    try:
        said = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
