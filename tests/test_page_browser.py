"""The live page of a run in a real browser."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from smear import smear
from tiny_metadata import tiny_file

from qlvit_edge.camera.base import Frame
from qlvit_edge.differential.tally import CUT
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.page.address import Address
from qlvit_edge.page.orders import Orders, Sample
from qlvit_edge.page.server import PageServer
from qlvit_edge.slide.tracker import SlideTracker

pytestmark = pytest.mark.slow

_SHOWN = "document.getElementById('number').textContent === 'frame {}'"
_OLD = "document.querySelector('figure').classList.contains('old')"
_TEXT = "document.getElementById('{}').textContent"
_LOGIN = "!document.getElementById('login').hidden"


@pytest.mark.parametrize("width", [1280, 390])
def test_page_shows_frames_ages_a_lock_and_the_servers_restart(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "kept"))
    model = tiny_file(tmp_path / "tiny.tflite")
    session = Session(Settings(str(model), "simulated:/nowhere", tmp_path / "results.sqlite"))
    monkeypatch.setattr(Session, "is_live", True)
    notes: list[str] = []

    def see(index: int) -> None:
        image = np.full((480, 640, 3), (200, 30, 30), np.uint8)
        session.newest = (Frame(image, index, 0.0, monotonic=time.monotonic()), ())

    with (
        PageServer(session, Address("0.0.0.0", 0), note=notes.append) as page,
        Browser(tmp_path / "profile", width=width) as browser,
    ):
        link, _, token = page.welcome.link.partition("#")
        place = f"https://127.0.0.1:{page._socket.getsockname()[1]}/"
        assert link.startswith("https://")

        browser.open(place)
        browser.wait(_LOGIN)
        browser.wait("document.activeElement.id === 'token'")
        browser.type("wrong")
        browser.press("Enter", "\r")
        browser.wait(f"{_TEXT.format('refused')} === 'that is not the token'")
        assert browser.ask("document.getElementById('main').hidden") is True

        browser.open(f"{place}#{token}")
        browser.wait("!document.getElementById('main').hidden")
        assert token not in browser.ask("location.href")
        assert browser.ask("document.cookie") == ""
        for index in range(3):
            see(index)
            browser.wait(_SHOWN.format(index))
        assert browser.ask("document.getElementById('frame').naturalWidth") == 640
        assert browser.ask("!document.getElementById('simulated').hidden") is True
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth") is True

        browser.wait(_OLD)  # the camera stopped
        browser.wait(f"{_TEXT.format('finding')} === 'NO PICTURE from the camera'")
        see(3)
        browser.wait(_SHOWN.format(3))
        assert browser.ask(_OLD) is False

        browser.wait("!document.getElementById('pause').disabled")
        for wanted in (True, False):  # also while the button has the focus
            browser.ask("document.getElementById('pause').focus()")
            browser.press("p", "p")
            deadline = time.monotonic() + 30
            while session.pause.wanted is not wanted and time.monotonic() < deadline:
                time.sleep(0.05)
            assert session.pause.wanted is wanted
            browser.wait(f"{_TEXT.format('status')}.startsWith('paused') === {str(wanted).lower()}")

        assert page._server is not None
        page._server.should_exit = True
        deadline = time.monotonic() + 30
        while not any("started again" in note for note in notes) and time.monotonic() < deadline:
            time.sleep(0.05)
        see(4)
        browser.wait(_SHOWN.format(4))
        assert browser.ask(_LOGIN) is False


def test_page_shows_what_is_lost_what_is_not_saved_and_red_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    session = Session(Settings(str(model), "simulated:/nowhere", tmp_path / "r.sqlite"))
    shown = "!document.getElementById('{}').hidden"
    with (
        PageServer(session, Address("127.0.0.1", 0), note=lambda _: None) as page,
        Browser(tmp_path / "profile", width=390) as browser,
    ):
        browser.open(page.welcome.link)
        browser.wait("!document.getElementById('pause').disabled")
        assert browser.ask(shown.format("trouble")) is False
        assert browser.ask(shown.format("census")) is False
        monkeypatch.setattr(Session, "pictures_stopped", "kept: only 99 MB are left")
        monkeypatch.setattr(Session, "restarts", 1)
        session.held_up = 3
        session.census.update({"white cells": 2, "red cells": 50, "platelets": 4})
        browser.wait(shown.format("trouble"))
        assert browser.ask(_TEXT.format("trouble")) == (
            "NO MORE PICTURES ARE SAVED: kept: only 99 MB are left. Counting goes on."
        )
        assert browser.ask(shown.format("census")) is True
        counts = browser.ask(_TEXT.format("census-counts"))
        assert "red cells50" in counts
        assert "red cells per white cellabout 25.0" in counts
        assert "platelets per 1000 red cellsabout 80" in counts
        device = browser.ask(_TEXT.format("device"))
        assert "frames left out while too many waited for the disk3" in device
        assert "the model's process was started again1 time" in device
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth") is True


_NOTES = """
globalThis.refused = [];
addEventListener("securitypolicyviolation", (event) => refused.push(event.violatedDirective));
addEventListener("error", (event) => refused.push(event.message));
"""
_PAINTED = """(() => {
  const canvas = document.querySelector('{}');
  if (canvas === null || canvas.width === 0) return 0;
  const pen = canvas.getContext('2d'), found = new Set();
  const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  for (let at = 0; at < data.length; at += 4) found.add(data.slice(at, at + 4).join());
  return found.size;
})()"""


def walked() -> SlideTracker:
    """A slide on whose second island a cell is doubtful."""
    tracker, slide = SlideTracker(), smear()
    for x in (300, 320, 340):
        at = float(x), 200.0
        tracker.add(slide.frame(*at), slide.cells(*at), slide.answers(*at))
    other = smear(seed=5)
    at = 500.0, 350.0
    tracker.add(other.frame(*at), other.cells(*at), other.answers(*at))
    return tracker


@pytest.mark.parametrize("width", [1280, 390])
def test_page_shows_the_slide_why_cells_are_not_judged_and_how_the_counts_grow(
    width: int, tmp_path: Path
) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    session = Session(Settings(str(model), "simulated:/x", tmp_path / "r.sqlite", stop_at=40))
    with (
        PageServer(session, Address("127.0.0.1", 0), note=print) as page,
        Browser(tmp_path / "profile", width=width) as browser,
    ):
        browser.call("Page.enable")
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=_NOTES)
        browser.open(page.welcome.link)
        browser.wait("!document.getElementById('slide-off').hidden")

        session.slide = tracker = walked()
        count = tracker.count()
        assert count.islands == 2
        assert 0 < count.doubtful < count.unique
        words = f"{count.unique} unique, {count.doubtful} doubtful"
        browser.wait(f"{_TEXT.format('unique')} === '{words}'")
        browser.wait(f"{_PAINTED.replace('{}', '#map')} > 5")
        described = browser.ask("document.getElementById('map').getAttribute('aria-label')")
        assert f"{count.unique} unique cells, {count.doubtful} doubtful" in described
        assert "2 pieces of the slide that nothing connects, 1 of them doubtful" in described
        assert browser.ask(_TEXT.format("frames-counted")) == "(4 frames)"

        label = session.count.tally.counted[0]
        answer = Classification(label, 0.25, {label: 0.25}, "abstained", CUT)
        cell = ClassifiedCell(Cell(10, 20, 30, 40, 500.0, cut=True), answer)
        session.newest = (Frame(np.zeros((480, 640, 3), np.uint8), 0, 0.0), (cell,))
        browser.wait(f"{_TEXT.format('cells-rows')}.includes({json.dumps(f'abstained: {CUT}')})")
        assert "25.0 %" in browser.ask(_TEXT.format("cells-rows"))

        session.count.tally.add(label, "accepted", cells=9)
        session.count.tally.add(label, "uncertain", cells=1)
        page.view.growth.look(last=True)
        browser.wait(f"{_TEXT.format('total')} === '9 cells counted of 40'")
        assert "66.4–100.0" in browser.ask(_TEXT.format("classes"))
        browser.wait(f"{_PAINTED.replace('{}', '#growth canvas')} > 5")
        browser.wait("plot.data[1].at(-1) === 9")
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth") is True
        assert browser.ask("refused.join()") == ""


def test_another_sample_is_asked_for_by_keyboard_and_a_normal_end_is_no_alarm(
    tmp_path: Path,
) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    session = Session(Settings(str(model), "simulated:/x", tmp_path / "r.sqlite", operator="Ann"))
    ended: list[str] = []
    orders = Orders(lambda: ended.append("run"), stays=True)
    alarm = "!document.getElementById('alarm').hidden"
    with (
        PageServer(session, Address("127.0.0.1", 0), note=print, orders=orders) as page,
        Browser(tmp_path / "profile") as browser,
    ):
        browser.open(page.welcome.link)
        browser.wait("!document.getElementById('new').disabled")
        browser.press("n", "n")
        browser.wait("document.activeElement.id === 'sample-id'")
        browser.press("Enter", "\r")  # an empty ID is not sent
        assert browser.ask("document.getElementById('asked').open") is True
        browser.type("S-2")
        browser.press("Enter", "\r")
        browser.wait("!document.getElementById('asked').open")
        assert ended == ["run"]
        orders.run_has_ended()
        assert orders.following() == Sample("S-2", "Ann")
        page.view.begin(session)

        class Ended:
            outcome, run_id = "counted", 1

        session._results = Ended()  # type: ignore[assignment]
        session.settings = Settings(str(model), "simulated:/x", tmp_path / "r.sqlite", stop_at=9)
        browser.wait("sounding && audio !== null && audio.state === 'running'")
        browser.ask(
            "globalThis.heard = []; sound = (...tones) => { heard.push(tones); return true; }"
        )
        orders.run_has_ended()
        page.view.end(None)
        browser.wait("document.getElementById('banner').classList.contains('full')")
        assert "Enough cells are counted: 0 of 9" in browser.ask(_TEXT.format("banner"))
        assert browser.ask("heard.length") == 1
        assert browser.ask(alarm) is False
        assert browser.ask("document.getElementById('pause').disabled") is True
        page.view.end("camera: it is gone; plug it in")
        browser.wait(alarm)
        assert "it is gone" in browser.ask(_TEXT.format("finding"))
        browser.wait("document.getElementById('banner').hidden && heard.length === 2")


def test_page_goes_on_after_the_programs_restart_and_says_when_it_ended(tmp_path: Path) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = Address("127.0.0.1", free.getsockname()[1])
    with Browser(tmp_path / "profile") as browser:
        for turn in range(2):
            settings = Settings(str(model), "simulated:/x", tmp_path / "r.sqlite")
            session = Session(settings)
            image = np.full((480, 640, 3), 90, np.uint8)
            session.newest = (Frame(image, 5 + turn, 0.0, monotonic=time.monotonic()), ())
            with PageServer(session, address, note=print) as page:
                if turn == 0:
                    browser.open(page.welcome.link)
                browser.wait(_SHOWN.format(5 + turn))
                browser.wait(f"{_TEXT.format('status')} === 'counting'")
                page.view.end(None)
            # The page was told: it ended as it should, or (a run of no file) as it should not.
            browser.wait(f"{_TEXT.format('status')}.endsWith('program ended')")
            assert "does not answer" not in browser.ask(_TEXT.format("finding"))


def test_a_browser_that_never_reads_delays_no_other(tmp_path: Path) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    session = Session(Settings(str(model), "simulated:/x", tmp_path / "r.sqlite"))
    noise = np.random.default_rng(0).integers(0, 255, (960, 1280, 3), np.uint8)
    session.newest = (Frame(noise, 1, 0.0, monotonic=time.monotonic()), ())
    with (
        PageServer(session, Address("127.0.0.1", 0), note=print) as page,
        Browser(tmp_path / "profile") as browser,
        contextlib.ExitStack() as deaf,
    ):
        port = int(page.welcome.link.rstrip("/").rpartition(":")[2])
        browser.open(page.welcome.link)
        browser.wait(_SHOWN.format(1))
        for _ in range(8):
            one = deaf.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.setblocking(False)
            asked = f"GET /uPlot.iife.min.js HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
            with contextlib.suppress(BlockingIOError):
                one.sendall(asked.encode() * 2000)
        for index in range(2, 6):
            began = time.monotonic()
            session.newest = (Frame(noise, index, 0.0, monotonic=began), ())
            browser.wait(_SHOWN.format(index))
            assert time.monotonic() - began < 5
