"""What the page asks of the program: stop, another sample, the end; and what it shows besides."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import segno
from numpy.typing import NDArray
from results_rows import rows
from smear import smear
from starlette.testclient import TestClient
from tiny_metadata import plain_image, tiny_file

from qlvit_edge.camera.base import Frame
from qlvit_edge.differential.tally import Tally
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pause import Pause
from qlvit_edge.microscope.pipeline import ClassifiedCell, Times
from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.microscope.stopping import Stopped, StopRequest
from qlvit_edge.page.access import Access
from qlvit_edge.page.address import Address
from qlvit_edge.page.application import application
from qlvit_edge.page.growth import MOST_POINTS, Growth
from qlvit_edge.page.minimap import map_of, rows_of
from qlvit_edge.page.orders import Orders, Sample
from qlvit_edge.page.picture import MOST_CELLS, cells_of
from qlvit_edge.page.server import FAREWELL_SECONDS, PageServer
from qlvit_edge.page.state import View
from qlvit_edge.slide.minimap import Tile
from qlvit_edge.slide.tracker import SlideTracker

ANN = Sample("S-2", "Ann")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture
def session(model: Path, tmp_path: Path) -> Session:
    return Session(Settings(str(model), "simulated:/nowhere", tmp_path / "results.sqlite"))


# Orders


def test_another_sample_ends_the_run_and_is_next() -> None:
    ended: list[str] = []
    orders = Orders(lambda: ended.append("run"))
    assert orders.begin(1, ANN)
    assert ended == ["run"]
    orders.run_has_ended()
    assert orders.following() == ANN
    assert orders.run == 2
    orders.run_has_ended()
    assert orders.following() is None  # it does not stay


def test_orders_of_a_run_that_is_over_change_nothing() -> None:
    ended: list[str] = []
    orders = Orders(lambda: ended.append("run"), stays=True)
    orders.run_has_ended()
    assert not orders.stop(1)
    assert orders.begin(1, ANN)
    assert ended == []  # none goes on
    assert orders.following() == ANN
    assert not orders.begin(1, Sample("twice", None))
    assert not orders.stop(1)
    assert not orders.end(1)
    assert ended == []
    assert orders.stop(2)
    assert ended == ["run"]


def test_a_page_that_stays_is_waited_for_until_it_ends_or_is_gone() -> None:
    for leave in (Orders.leave, lambda orders: orders.end(1)):
        orders = Orders(stays=True)
        orders.run_has_ended()
        timer = threading.Timer(0.05, leave, [orders])
        timer.start()
        assert orders.following() is None
        timer.join()


def test_the_end_of_one_run_is_not_the_end_of_the_next() -> None:
    with StopRequest() as stop:
        stop.end_run()
        assert stop.wanted
        assert stop.requested is None
        with pytest.raises(Stopped), stop.interruptible():
            pass
        stop.next_run()
        assert not stop.wanted
        with stop.interruptible():
            signal.raise_signal(signal.SIGURG)  # what woke the run before comes late
        signal.raise_signal(signal.SIGTERM)
        stop.next_run()
        assert stop.wanted


def test_waiting_ends_when_the_run_is_told_to() -> None:
    with StopRequest() as stop:
        timer = threading.Timer(0.05, stop.end_run)
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped), stop.interruptible():
            time.sleep(20)
        assert time.monotonic() - began < 10
        timer.join()


# Over HTTP


def client_of(view: View) -> tuple[TestClient, dict[str, str]]:
    address = Address("127.0.0.1", 8321)
    app = application(view, Access(None), address, secure=False)
    client = TestClient(app, base_url="http://127.0.0.1:8321")
    return client, {"x-csrf-token": client.get("/api/session").json()["csrf"]}


def test_orders_need_the_sessions_word_a_run_and_names_that_can_be_stored(
    session: Session,
) -> None:
    orders = Orders()
    client, word = client_of(View(session, orders))

    def said(body: dict[str, object], headers: dict[str, str] = word) -> int:
        return int(client.post("/api/run", json=body, headers=headers).status_code)

    begin: dict[str, object] = {"run": 1, "action": "begin", "sample": " S-2 ", "operator": "Ann"}
    assert said(begin, {}) == 403
    assert said({**begin, "run": True}) == 400
    assert said({**begin, "action": "delete"}) == 400
    for name in ("", "  ", None, "a\nb", "x" * 201):
        assert said({**begin, "sample": name}) == 422
    assert said({**begin, "operator": "a\0b"}) == 422
    assert said({**begin, "run": 7}) == 409
    assert said({"run": 1, "action": "stop"}) == 200
    assert said(begin) == 200
    orders.run_has_ended()
    assert orders.following() == ANN
    assert said({**begin, "run": 2, "operator": " "}) == 200
    orders.run_has_ended()
    assert orders.following() == Sample("S-2", None)


def code(text: str) -> NDArray[np.uint8]:
    dots = np.array([[not dot for dot in row] for row in segno.make(text).matrix_iter(border=4)])
    return np.asarray(np.kron(dots, np.ones((6, 6))) * 255, np.uint8)


def grey(*codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = np.full((300, 600), 255, np.uint8)
    for number, one in enumerate(codes):
        picture[20 : 20 + one.shape[0], 20 + 290 * number :][:, : one.shape[1]] = one
    return np.dstack([picture] * 3)


def test_a_barcode_in_the_live_picture_is_read(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = View(session)
    client, word = client_of(view)

    def read(*codes: NDArray[np.uint8]) -> tuple[int, str]:
        session.newest = (Frame(grey(*codes), 0, 0.0), ())
        answer = client.post("/api/barcode", json={}, headers=word)
        return answer.status_code, answer.json().get("text") or answer.json()["error"]

    assert client.post("/api/barcode", json={}).status_code == 403
    assert client.post("/api/barcode", json={}, headers=word).status_code == 409
    assert read(code("S-0815")) == (200, "S-0815")
    assert read(code("S-0815"), code("S-0815")) == (200, "S-0815")
    status, said = read(code("S-0815"), code("S-0816"))
    assert status == 422
    assert "'S-0815', 'S-0816'" in said
    assert read()[0] == 422
    monkeypatch.setattr("qlvit_edge.page.barcode.find_spec", lambda name: None)
    assert "pip install 'qlvit-edge[barcode]'" in read(code("S-0815"))[1]
    view.end(None)
    assert read(code("S-0815"))[0] == 409


def found(label: str, verdict: Any, reason: str | None, x: int) -> ClassifiedCell:
    answer = Classification(label, 0.5, {label: 0.5}, verdict, reason)
    return ClassifiedCell(Cell(x, 20, 30, 40, 500.0), answer)


def test_each_marked_cell_is_listed_with_its_verdict_and_reason(session: Session) -> None:
    label = session.classifier.labels[0]
    client, _ = client_of(View(session))
    cells = (
        found(label, "abstained", "out of focus – sharpness 3, 9 at least", 200),
        found(label, "accepted", None, 10),
    )
    session.newest = (Frame(np.zeros((90, 300, 3), np.uint8), 4, 0.0), cells)
    told = json.loads(client.get("/api/frame").headers["x-cells"])
    assert told["all"] == 2
    assert [one["verdict"] for one in told["listed"]] == ["accepted", "abstained"]
    assert told["listed"][1]["reason"] == "out of focus – sharpness 3, 9 at least"
    many = cells_of([found(label, "accepted", None, n) for n in range(MOST_CELLS + 2)])
    assert many["all"] == MOST_CELLS + 2
    assert len(many["listed"]) == MOST_CELLS  # type: ignore[arg-type]


def test_the_first_frame_of_another_run_is_shown_and_its_end_told(
    session: Session, model: Path, tmp_path: Path
) -> None:
    view = View(session, Orders(stays=True))
    client, _ = client_of(view)
    session.newest = (Frame(plain_image("RED", size=64), 3, 0.0), ())
    before = client.get("/api/frame").headers["x-picture"]
    view.end("camera: gone; plug it in")
    state = client.get("/api/state").json()
    assert (state["over"], state["failure"]) == (True, "camera: gone; plug it in")
    other = Session(
        Settings(str(model), "simulated:/x", tmp_path / "r.sqlite", sample="S-2"),
        session.computing,
    )
    assert other.classifier is session.classifier
    view.begin(other)
    state = client.get("/api/state").json()
    assert (state["over"], state["failure"], state["sample"]) == (False, None, "S-2")
    assert client.get(f"/api/frame?after={before}").status_code == 204
    other.newest = (Frame(plain_image("RED", size=64), 3, 0.0), ())
    assert client.get(f"/api/frame?after={before}").headers["x-frame"] == "3"


# The slide and the counts


def test_tiles_side_by_side_are_one_entry() -> None:
    tiles = [
        Tile(-1, 0, "counted"),
        Tile(0, 0, "counted"),
        Tile(2, 0, "counted"),
        Tile(1, 0, "too fast"),
        Tile(3, 1, "counted"),
    ]
    assert rows_of(tiles) == {
        "counted": [[0, -1, 2], [0, 2, 1], [1, 3, 1]],
        "too fast": [[0, 1, 1]],
    }


def test_the_map_shows_what_the_tracker_knows(session: Session) -> None:
    view = View(session)
    client, _ = client_of(view)
    assert client.get("/api/slide").status_code == 204
    assert client.get("/api/state").json()["once"] is False
    slide = smear()
    session.slide = tracker = SlideTracker()
    for x in range(300, 380, 20):
        at = float(x), 200.0
        tracker.add(slide.frame(*at), slide.cells(*at), slide.answers(*at))
    shown = client.get("/api/slide").json()
    assert client.get("/api/state").json()["once"] is True
    assert shown == json.loads(json.dumps(map_of(tracker)))
    assert shown["count"]["unique"] == tracker.count().unique > 0
    (island,) = tracker.islands()
    (drawn,) = shown["islands"]
    assert sum(many for row in drawn["tiles"]["counted"] for many in row[2:]) == len(island.tiles)
    assert len(drawn["cells"]) == tracker.count().unique
    assert drawn["frame"][0] == pytest.approx(60, abs=2)


def test_growth_takes_the_same_room_however_long() -> None:
    now = [0.0]
    tally = Tally(("NEUTROPHIL", "LYMPHOCYTE"))
    growth = Growth(tally.counted, lambda: tally.accepted, clock=lambda: now[0])
    for second in range(10 * MOST_POINTS):
        now[0] = float(second)
        tally.add("LYMPHOCYTE", "accepted")
        growth.look()
        growth.look()
    now[0] += 0.5
    growth.look(last=True)
    curves: Any = growth.curves()
    seconds, cells = curves["seconds"], curves["classes"]["LYMPHOCYTE"]
    assert MOST_POINTS / 3 < len(seconds) == len(cells) <= MOST_POINTS + 1
    assert (seconds[0], cells[0], seconds[-1], cells[-1]) == (0, 0, now[0], 10 * MOST_POINTS)
    assert seconds == sorted(seconds)
    assert all(abs(at - count) <= 1 for at, count in zip(seconds, cells, strict=True))
    assert set(curves["classes"]["NEUTROPHIL"]) == {0}


def test_the_plots_come_with_their_licence_and_version() -> None:
    folder = files("qlvit_edge.page").joinpath("static")
    assert "MIT License" in folder.joinpath("uPlot-LICENSE.txt").read_text()
    assert "(v1.6.32)" in folder.joinpath("uPlot.iife.min.js").read_text()[:200]


# Pauses


def test_time_paused_is_in_no_figure() -> None:
    times, pause = Times(), Pause()

    def frames() -> Iterator[Frame]:
        for number in range(4):
            time.sleep(0.05)
            yield Frame(plain_image("RED"), number, 0.0)

    pause.wanted = True
    counted = pause.frames(
        frames(),
        live=True,
        show=lambda frame: setattr(pause, "wanted", frame.index < 2),
        stopped=lambda: False,
        waited=lambda seconds: times.leave_out("capture", seconds),
    )
    with times.measure("capture"):
        assert next(counted).index == 3
    assert 0.15 <= pause.seconds < 5
    assert 0.05 <= times.spent["capture"] < times.total() + 1e-6
    assert times.total() == pytest.approx(times.spent["capture"], abs=0.1)
    assert pause.left_out == 3
    (span,) = json.loads(pause.stored() or "")
    assert span[1] - span[0] == pytest.approx(pause.seconds, abs=0.5)
    pause.wanted = True
    pause.wanted = True
    assert [end is None for _, end in json.loads(pause.stored() or "")] == [False, True]


# Whole programs

BEGIN = """
import signal
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from qlvit_edge.cli import main
main()
"""


class Served:
    """A run that is watched over HTTP."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        assert child.stderr is not None
        said = next(line for line in child.stderr if line.startswith("page: "))
        self.link = said.split()[1]
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self.word = self.ask("api/session")["csrf"]

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.link}{path}", data)
        if body is not None:
            request.add_header("x-csrf-token", self.word)
        with self._opener.open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def order(self, action: str, **more: object) -> None:
        self.ask("api/run", {"action": action, "run": self.ask("api/state")["run"], **more})

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while not condition(state := self.ask("api/state")):
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        return dict(state)


@contextmanager
def served(*arguments: object) -> Iterator[Served]:
    command = [sys.executable, "-P", "-c", BEGIN, "run", *map(str, arguments)]
    with subprocess.Popen(
        [*command, "--serve", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as child:
        try:
            yield Served(child)
        finally:
            child.kill()


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    folder = tmp_path / "fields"
    folder.mkdir()
    picture = np.full((60, 80, 3), (40, 40, 200), np.uint8)
    assert cv2.imwrite(str(folder / "a.png"), picture)
    return folder


def outcomes(out: Path) -> list[tuple[Any, ...]]:
    return rows(out, "SELECT outcome, sample, operator FROM run_list ORDER BY run")


def test_the_page_outlives_runs_and_begins_others(
    tmp_path: Path, model: Path, fields: Path
) -> None:
    out = tmp_path / "r.sqlite"
    source = f"simulated:{fields}?fps=20"
    options = ("--out", out, "--find", "none", "--sample", "S-1", "--operator", "Ann")
    with served(model, "--camera", source, *options, "--stay") as page:
        page.until(lambda state: state["frames"])
        page.order("begin", sample="S-2", operator="Bob")
        page.until(lambda state: state["sample"] == "S-2" and state["frames"])
        page.ask("api/pause", {"paused": True})
        page.ask("api/pause", {"paused": False})
        page.order("stop")
        over = page.until(lambda state: state["over"])
        assert (over["outcome"], over["failure"], over["stays"]) == ("stopped", None, True)
        assert outcomes(out) == [("stopped", "S-1", "Ann"), ("stopped", "S-2", "Bob")]
        (first, second) = rows(out, "SELECT pauses FROM runs")
        assert first == (None,)
        assert len(json.loads(second[0])) == 1
        page.order("begin", sample="S-3")
        page.until(lambda state: not state["over"] and state["frames"])
        page.child.send_signal(signal.SIGTERM)
        said, errors = page.child.communicate(timeout=30)
    assert page.child.returncode == 0, errors
    assert outcomes(out)[2] == ("stopped", "S-3", None)
    assert [f"Run {n} of tiny: stopped" in said for n in (1, 2, 3)] == [True] * 3


def test_a_run_that_fails_is_said_and_the_program_says_so_at_its_end(
    tmp_path: Path, model: Path, fields: Path
) -> None:
    out = tmp_path / "r.sqlite"
    options = ("--out", out, "--find", "none", "--stay")
    with served(model, "--camera", fields, *options) as page:
        assert page.until(lambda state: state["over"])["outcome"] == "finished"
        kept = fields.rename(tmp_path / "kept")
        page.order("begin", sample="S-2")
        state = page.until(lambda state: state["run"] == 2 and state["over"])
        assert "fields" in state["failure"]
        kept.rename(fields)
        page.order("begin", sample="S-3")
        page.until(lambda state: state["run"] == 3 and state["over"])
        page.order("end")
        _, errors = page.child.communicate(timeout=30)
    assert page.child.returncode == 2
    assert errors.rstrip().endswith(state["failure"])
    assert outcomes(out) == [("finished", None, None), ("finished", "S-3", None)]


def test_without_staying_the_program_ends_with_the_run_and_tells_the_page(
    tmp_path: Path, model: Path, fields: Path
) -> None:
    out = tmp_path / "r.sqlite"
    source = f"simulated:{fields}?fps=20"
    with served(model, "--camera", source, "--out", out, "--find", "none") as page:
        assert page.until(lambda state: state["frames"])["stays"] is False
        page.order("stop")
        over = page.until(lambda state: state["closing"])
        assert (over["over"], over["outcome"]) == (True, "stopped")
        _, errors = page.child.communicate(timeout=30)
    assert page.child.returncode == 0, errors
    assert outcomes(out) == [("stopped", None, None)]


def test_nobody_is_waited_for_where_nobody_looks(session: Session) -> None:
    spent = {}
    for asked in (False, True):
        with PageServer(session, Address("127.0.0.1", 0), note=print) as page:
            if asked:
                page.view.state()
            began = time.monotonic()
            page.__exit__(None, None, None)
            spent[asked] = time.monotonic() - began
    assert spent[False] < FAREWELL_SECONDS <= spent[True]
