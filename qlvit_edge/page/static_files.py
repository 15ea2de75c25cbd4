"""The page's own files, read once; none is named by what the network says."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"


class StaticFiles:
    """Files of ``page/static``, each under a fixed path."""

    def __init__(self, named: Mapping[str, tuple[str, str]]) -> None:
        """Read them.

        Args:
            named: path of an address → name of the file, and its media type.
        """
        folder = files("qlvit_edge.page").joinpath("static")
        self._contents = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in named.items()
        }

    def routes(self) -> list[Route]:
        """Return a route for each."""
        return [Route(path, self._answer, methods=["GET"]) for path in self._contents]

    async def _answer(self, request: Request) -> Response:
        content, kind = self._contents[request.url.path]
        return Response(content, media_type=kind)
