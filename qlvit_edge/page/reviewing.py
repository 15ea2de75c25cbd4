"""The page's answers about a review: what is shown, and what readers say, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.microscope.sqlite_errors import LockedError
from qlvit_edge.page.connections import busy
from qlvit_edge.page.crops import Crops
from qlvit_edge.page.door import Door, body, refusal
from qlvit_edge.page.leaving import FORMATS, exported, file_name
from qlvit_edge.page.said import Said, WrongRequest
from qlvit_edge.page.shown import covered, run_in_list, shown_run
from qlvit_edge.page.static_files import CSS, HTML, SCRIPT, StaticFiles
from qlvit_edge.review.cells import ReviewCell, runs_of
from qlvit_edge.review.opening import mark_ended, reading
from qlvit_edge.review.reviewed import ReviewedRun, reviewed_run
from qlvit_edge.review.selecting import unchanged
from qlvit_edge.review.store import ReviewStore

LARGEST_REQUEST = 2**18
LOCK_SECONDS = 5.0
"""How long another program's lock is waited for: less than a connection may be quiet."""

UNSEEN = "confirmed without a picture"
"""The reason of a confirmation by who has not seen the cell here."""

_PARTS: Final = ("server", "tiles", "keys", "random", "reasons", "result", "sections")
_FILES: Final = {
    "/review": ("review.html", HTML),
    "/review.css": ("review.css", CSS),
    **{
        f"/{name}.js": (f"{name}.js", SCRIPT)
        for name in ("review", *(f"review-{part}" for part in _PARTS))
    },
}


class Reviewing:
    """The routes of the review of one results file."""

    def __init__(self, results: Path, door: Door, *, live: bool) -> None:
        """Prepare the answers.

        Args:
            results: the results file, which may come later.
            door: who may see it.
            live: whether a run of this process writes to it.
        """
        self._results, self._door, self._live = results, door, live
        self._crops = Crops(results)
        self._one_at_a_time = threading.Lock()
        self._seen: ReviewedRun | None = None
        self._files = StaticFiles(_FILES)

    def routes(self) -> list[Route]:
        """Return all there is; none of them names a file by what the network says."""
        return [
            *([] if self._live else [Route("/", self._redirect, methods=["GET"])]),
            *self._files.routes(),
            Route("/api/review/runs", self._runs, methods=["GET"]),
            Route("/api/review/run", self._run, methods=["GET"]),
            Route("/api/review/crop", self._crop, methods=["GET"]),
            Route("/api/review/field", self._field, methods=["GET"]),
            Route("/api/review/step", self._step, methods=["POST"]),
            Route("/api/review/export", self._export, methods=["POST"]),
        ]

    async def _redirect(self, _: Request) -> Response:
        return RedirectResponse("/review", status_code=307)

    async def _runs(self, request: Request) -> Response:
        """The file's runs."""

        def ask() -> Response:
            with reading(self._results) as connection:
                rows = runs_of(connection)
            name = self._results.name
            return JSONResponse(
                {"file": name, "live": self._live, "runs": [run_in_list(row) for row in rows]}
            )

        return await self._answer(request, ask)

    async def _run(self, request: Request) -> Response:
        """A run with its review; nothing (204) where the client has it as it is."""

        def ask() -> Response:
            seen = self._reviewed(_number(request, "run", optional=True))
            # Better views come while a run goes on: other findings stand for cells, or doubts.
            cells = crc32(repr([(cell.id, cell.doubtful) for cell in seen.cells]).encode())
            version = f"{seen.head}-{cells:x}-{seen.run.outcome}-{seen.run.statement}"
            if request.query_params.get("have") == version:
                return Response(status_code=204)
            shown = shown_run(seen, self._crops, self._results.name)
            return JSONResponse({**shown, "version": version})

        return await self._answer(request, ask)

    async def _crop(self, request: Request) -> Response:
        def ask() -> Response:
            seen, cell = self._named_cell(request)
            content = self._crops.crop(seen, cell)
            if not content:
                return refusal(404, "there is no picture of this cell")
            return Response(content, media_type="image/png")

        return await self._answer(request, ask, in_turn=False)

    async def _field(self, request: Request) -> Response:
        def ask() -> Response:
            content = self._crops.field(self._named_cell(request)[1])
            if not content:
                return refusal(404, "there is no picture of this cell's frame")
            return Response(content, media_type="image/jpeg")

        return await self._answer(request, ask, in_turn=False)

    async def _step(self, request: Request) -> Response:
        """One step of a review, on the disk when this is answered."""
        said = await self._said(request)
        if isinstance(said, Response):
            return said

        def ask() -> Response:
            if said.step == "done" and not self._live:
                self._end_killed(said.run)
            with ReviewStore(self._results, seconds=LOCK_SECONDS) as store:
                if said.step in ("confirm", "change", "exclude"):
                    self._require_seen(store.run(said.run), said)
                record = said.carry_out(store, UNSEEN)
            return JSONResponse({"number": record.number, "kind": record.kind, "at": record.at})

        return await self._answer(request, ask)

    async def _export(self, request: Request) -> Response:
        """A run as a file to download; that a signed one leaves is recorded."""
        said = await self._said(request)
        if isinstance(said, Response):
            return said

        def ask() -> Response:
            kind = said.text("format")
            if kind not in FORMATS:
                return refusal(400, f"name a format: {', '.join(FORMATS)}")
            with self._one_at_a_time:
                seen = self._reviewed(said.run)
            name = file_name(seen, kind)

            def leaving() -> None:
                if not seen.status.is_signed:
                    return
                store = ReviewStore(self._results, seconds=LOCK_SECONDS)
                with self._one_at_a_time, store:
                    also = unchanged(self._results, seen)
                    store.export(said.run, to=name, by=said.by, also=also)

            content = exported(self._results, seen, kind, leaving)
            disposition = {"content-disposition": f'attachment; filename="{name}"'}
            return Response(content, media_type=FORMATS[kind][1], headers=disposition)

        with busy(request.scope):
            return await self._answer(request, ask, in_turn=False)

    async def _said(self, request: Request) -> Said | Response:
        """What a request wants to change, if it may."""
        if not self._door.may_change(request):
            return refusal(403, "reload the page and try again")
        found = await body(request, LARGEST_REQUEST)
        if found is None:
            return refusal(413, "that is too long")
        try:
            return Said(found)
        except WrongRequest as error:
            return refusal(400, str(error))

    async def _answer(
        self, request: Request, ask: Callable[[], Response], *, in_turn: bool = True
    ) -> Response:
        """Ask in a thread, one question to the file after another; every finding is one line.

        Pictures and exports are made beside that: a decision does not wait for them.
        """
        if self._door.csrf(request) is None:
            return refusal(401, "log in first")

        def answer() -> Response:
            with self._one_at_a_time if in_turn else nullcontext():
                return ask()

        try:
            return await run_in_threadpool(answer)
        except WrongRequest as error:
            return refusal(error.status, str(error))
        except LockedError as error:
            return refusal(503, self._in_words(error))
        except QLViTEdgeError as error:
            return refusal(409, self._in_words(error))

    def _in_words(self, error: QLViTEdgeError) -> str:
        """An error's line, without where on this machine the file is or what options are called."""
        text = str(error).replace(f"{self._results}: ", "", 1)
        text = text.replace(str(self._results.parent.absolute()), "…")
        for option in ("--by", "--reason", "--class"):
            text = text.replace(f"{option}: ", f"{option[2:].replace('by', 'name')}: ", 1)
        return text

    def _reviewed(self, run: int | None) -> ReviewedRun:
        with reading(self._results) as connection:
            return reviewed_run(connection, self._results, run)

    def _named_cell(self, request: Request) -> tuple[ReviewedRun, ReviewCell]:
        """The run and cell that a request names; what was read last is not read again for it."""
        run, number = _number(request, "run"), _number(request, "cell")
        for fresh in (False, True):
            seen = self._last(run, fresh=fresh)
            for cell in seen.cells:
                if cell.id == number:
                    return seen, cell
        raise WrongRequest(f"run {run} has no cell {number}", 404)

    def _last(self, run: int, *, fresh: bool) -> ReviewedRun:
        with self._one_at_a_time:
            if fresh or self._seen is None or self._seen.run.run != run:
                self._seen = self._reviewed(run)
            return self._seen

    def _require_seen(self, seen: ReviewedRun, said: Said) -> None:
        """Refuse to decide on what the reader cannot have seen, or must not have seen yet."""
        cells = {number: cell for cell in seen.cells for number in cell.findings}
        found = [cells[number] for number in said.cells if number in cells]
        hidden = covered(seen, self._crops)
        if any(cell.id in hidden for cell in found):
            raise WrongRequest("class the random cells first, without the model's answer", 409)
        without = [cell for cell in found if self._crops.kind(cell) is None]
        if not without or said.step == "exclude":
            return
        if not said.unseen or len(said.cells) > 1:
            finding = f"there is no picture of cell {without[0].id}: decide on it by itself"
            raise WrongRequest(f"{finding}, and say that you have not seen it here", 409)

    def _end_killed(self, run: int) -> None:
        """Note that a killed run did not end, so that it can be reviewed to its end."""
        if self._reviewed(run).run.goes_on:
            mark_ended(self._results)


def _number(request: Request, name: str, *, optional: bool = False) -> Any:
    text = request.query_params.get(name)
    if text is None and optional:
        return None
    if text is None or len(text) > 15 or not (text.isascii() and text.isdecimal()):
        raise WrongRequest(f"{name}: give a number")
    return int(text)
