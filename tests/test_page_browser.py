"""The live page of a run in a real browser."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from tiny_metadata import tiny_file

from qlvit_edge.camera.base import Frame
from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.page.address import Address
from qlvit_edge.page.server import PageServer

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
