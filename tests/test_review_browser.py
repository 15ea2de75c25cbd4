"""The review of a run in a real browser: few keys, everything stored, everything exported."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser
from read_run import CELLS, CLASSES, Reader, write_known_run

from qlvit_edge.page.address import Address
from qlvit_edge.page.server import ReviewServer
from qlvit_edge.review.store import ReviewStore

pytestmark = pytest.mark.slow

LOCAL = Address("127.0.0.1", 0)
_TOLD = "document.getElementById('told').textContent"
_LEFT = "document.getElementById('left').textContent"
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
    truths = write_known_run(path, tmp_path, seed=1)
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
