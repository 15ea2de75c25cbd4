"""The review of a run in a real browser: few keys, everything stored, everything exported."""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Browser
from read_run import CELLS, CLASSES, Reader, write_known_run
from reviewed_run import OF_SAMPLE, found, write_run

from qlvit_edge.page.address import Address
from qlvit_edge.page.server import ReviewServer
from qlvit_edge.review.store import ReviewStore
from qlvit_edge.review.verifying import findings_in

pytestmark = pytest.mark.slow

LOCAL = Address("127.0.0.1", 0)
_TOLD = "document.getElementById('told').textContent"
_LEFT = "document.getElementById('left').textContent"
_RANDOM = "document.getElementById('random').innerText"
_WORTH = "document.getElementById('worth').textContent"


def enter(browser: Browser, link: str, name: str = "Ann") -> None:
    """Open the review and say who reads."""
    browser.open(link)
    browser.wait("!document.getElementById('who').hidden")
    browser.type(name)
    browser.press("Enter", "\r")
    browser.wait("!document.getElementById('desk').hidden")
    browser.wait(f"{_LEFT} !== ''")


def section(browser: Browser, word: str) -> None:
    """Go to a class, or to what stands below them."""
    browser.ask(
        f"[...document.querySelectorAll('#sections button')]"
        f".find((one) => one.textContent.startsWith('{word}')).click()"
    )


def push(browser: Browser, text: str) -> None:
    """Press a button of the result by its name, once it can be."""
    one = (
        "[...document.querySelectorAll('#result button')]"
        f".find((one) => one.textContent.startsWith('{text}'))"
    )
    browser.wait(f"{one} !== undefined && !{one}.disabled")
    browser.ask(f"{one}.click()")


def test_200_cells_of_which_9_in_10_are_right_take_40_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    truths = write_known_run(path, tmp_path, seed=0)
    with (
        ReviewServer(path, LOCAL, note=print) as page,
        Browser(tmp_path / "profile") as browser,
    ):
        enter(browser, page.welcome.link)
        reader = Reader(browser, truths)
        for label in CLASSES:
            browser.wait(
                f"document.getElementById('heading').textContent.startsWith('{label.lower()}')"
            )
            reader.read(label)
            if label != CLASSES[-1]:
                reader.press(".")
        browser.wait(f"{_LEFT} === 'all {CELLS} cells decided'")
        browser.wait("document.querySelectorAll('.tile').length > 0")
    with ReviewStore(path) as store:
        seen = store.run(1)
    assert {cell.id: cell.final for cell in seen.cells} == truths
    assert seen.left_to_do() == []
    assert len(reader.pressed) <= 40, reader.pressed


_HOSTILE = "<script>window.hit = 1</script>"


def test_a_cell_is_corrected_signed_and_exported_whatever_becomes_of_the_server(
    tmp_path: Path,
) -> None:
    path, downloads = tmp_path / "r.sqlite", tmp_path / "downloads"
    info = replace(OF_SAMPLE, sample=_HOSTILE, model=_HOSTILE)
    frames = [found("RED"), found("BLUE", x=30)], [found("RED", "unknown cell")]
    write_run(path, *frames, info=info, keep=tmp_path)
    with Browser(tmp_path / "profile") as browser:
        with ReviewServer(path, LOCAL, note=print) as page:
            port = page._socket.getsockname()[1]
            enter(browser, page.welcome.link, _HOSTILE)
            browser.wait("document.querySelector('.tile.seen') !== null")
            browser.ask("document.getElementById('why').selectedIndex = 2")
            browser.press("2", "2")  # BLUE
            browser.wait(f"{_LEFT} === '2 of 3 cells left'")
        with ReviewServer(path, Address("127.0.0.1", port), note=print):  # knows no session
            browser.wait("document.querySelector('.tile .people').textContent === '→ blue'")
            section(browser, "blue")
            browser.wait("document.querySelector('.tile.seen') !== null")
            browser.press("Enter", "\r")
            browser.wait(f"{_LEFT} === '1 of 3 cells left'")
            section(browser, "unknown")
            browser.wait("document.querySelector('.tile.seen') !== null")
            browser.press("Delete")
            browser.wait(f"{_LEFT} === 'all 3 cells decided'")
            browser.press("Backspace")
            browser.wait(f"{_LEFT} === '1 of 3 cells left'")
            browser.open(f"http://127.0.0.1:{port}/review")  # the name is asked for once
            browser.wait(f"{_LEFT} === '1 of 3 cells left'")
            section(browser, "unknown")
            browser.wait("document.querySelector('.tile.seen') !== null")
            browser.press("1", "1")
            browser.wait(f"{_LEFT} === 'all 3 cells decided'")
            section(browser, "result")
            push(browser, "Done")
            push(browser, "Sign")
            browser.wait(f"{_WORTH} === 'SIGNED by {_HOSTILE}'")
            browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
            push(browser, "CSV")
            browser.wait(f"{_TOLD} === 'run1.csv was made'")
            deadline = time.monotonic() + 30
            while not (downloads / "run1.csv").exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert browser.ask("window.hit") is None
            assert browser.ask("document.querySelectorAll('main script').length") == 0
    rows = list(csv.DictReader((downloads / "run1.csv").read_text("utf-8").splitlines()))
    assert [row["final_label"] for row in rows] == ["BLUE", "BLUE", "RED"]
    assert rows[0]["decision_reason"] == "granules"
    assert all(row["status"].startswith("signed by") for row in rows)
    assert findings_in(path) == []


def test_random_cells_and_cells_without_a_picture_in_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, *([found("RED"), found("BLUE", x=30)] for _ in range(2)), keep=tmp_path)
    with (
        ReviewServer(path, LOCAL, note=print) as page,
        Browser(tmp_path / "profile", width=390) as browser,
    ):
        enter(browser, page.welcome.link)
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth") is True
        section(browser, "random")
        browser.ask("document.querySelector('#random button').click()")
        for _ in range(4):
            image = "document.querySelector('#random img')"
            browser.wait(f"{image} !== null && {image}.complete && {image}.naturalWidth > 0")
            shown = browser.ask("document.querySelector('#desk').innerText").lower()
            assert "%" not in shown
            before = browser.ask(_RANDOM)
            browser.press("1", "1")
            browser.wait(f"{_RANDOM} !== {before!r}")
        browser.wait(f"{_RANDOM}.includes('2 of 4 random accepted cells')")
        section(browser, "result")
        browser.wait("document.getElementById('result').innerText.includes('these are all')")
    for picture in tmp_path.glob("*-plain.png"):
        picture.unlink()
    with (
        ReviewServer(path, LOCAL, note=print) as page,
        Browser(tmp_path / "other") as browser,
    ):
        with ReviewStore(path) as store:
            store.confirm(1, [1], "Bob")
        enter(browser, page.welcome.link)
        browser.wait("document.querySelectorAll('.tile.blank').length === 2")
        browser.wait("document.getElementById('warning').textContent.startsWith('4 of 4')")
        browser.press("a", "a")
        browser.press("1", "1")
        browser.wait("document.getElementById('question').open")
        browser.press("Enter", "\r")  # the focus is on Cancel
        browser.wait("!document.getElementById('question').open")
    with ReviewStore(path) as store:
        assert store.records(1)[-1].by == "Bob"


def test_what_was_not_on_the_screen_is_not_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a phone, over TLS, with the link's token."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "kept"))
    path = tmp_path / "r.sqlite"
    write_known_run(path, tmp_path, seed=2)
    with (
        ReviewServer(path, Address("0.0.0.0", 0), note=print) as page,
        Browser(tmp_path / "profile", width=390, height=700) as browser,
    ):
        place = f"https://127.0.0.1:{page._socket.getsockname()[1]}/"
        browser.open(place)
        browser.wait("document.getElementById('login')?.hidden === false")
        assert browser.ask("document.getElementById('desk').hidden") is True
        token = page.welcome.link.partition("#")[2]
        enter(browser, f"{place}#{token}")
        assert token not in browser.ask("location.href")
        browser.wait("document.querySelector('.tile.seen') !== null")
        browser.press("Enter", "\r")
        browser.wait(f"{_TOLD}.includes('not on the screen yet')")
        browser.wait(f"{_LEFT}.endsWith('cells left')")
        decided = browser.ask("document.querySelectorAll('.tile.decided').length")
        browser.press("Enter", "\r")  # nor is the next class: that is another key
        heading = "document.getElementById('heading').textContent"
        assert browser.ask(f"{heading}.startsWith('neutrophil')") is True
        with ReviewStore(path) as store:
            cells = [cell for cell in store.run(1).cells if cell.decision is not None]
    assert 0 < decided < 20
    assert decided <= len(cells) < 20
    assert min(cell.probability for cell in cells) < 0.6
