"""`results serve`, and what `results show` says of random cells."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from pathlib import Path

import pytest
from command import refused, run_command
from reviewed_run import found, write_run

from qlvit_edge.page.server import Welcome
from qlvit_edge.review.store import ReviewStore


def test_a_file_is_served_until_it_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()])
    pages: list[bytes] = []

    def look(link: str) -> None:
        try:
            for what in ("review", "review.js"):
                with urllib.request.urlopen(f"{link}{what}", timeout=20) as answer:
                    pages.append(answer.read())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def say_where(welcome: Welcome) -> None:
        threading.Thread(target=look, args=(welcome.link,)).start()

    monkeypatch.setattr("qlvit_edge.cli.results_serve.say_where", say_where)
    assert run_command("results", "serve", path, "127.0.0.1:0") == 0
    assert [b"<title>Review" in page for page in pages] == [True, False]


def test_what_cannot_be_served_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "no such file" in refused(capfd, "results", "serve", tmp_path / "r.sqlite")
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"x" * 4096)
    assert "not a results file" in refused(capfd, "results", "serve", other)
    write_run(tmp_path / "r.sqlite", [found()])
    line = refused(capfd, "results", "serve", tmp_path / "r.sqlite", "a/b")
    assert "page at a/b: that is no address to serve it on" in line


def test_show_says_how_often_accepted_answers_are_right(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found("RED"), found("BLUE", x=30)], keep=tmp_path)
    with ReviewStore(path) as store:
        store.draw(1, "Ann")
        store.blind(1, 1, "RED", "Ann")
    assert run_command("results", "show", path) == 0
    assert "1 of 2 random cells left to class" in capfd.readouterr().out
    with ReviewStore(path) as store:
        store.blind(1, 2, None, "Ann")
    assert run_command("results", "show", path) == 0
    said = capfd.readouterr().out
    assert "1 of 2 random accepted cells are what the model says: 50%" in said
    assert "blind 1 to RED" in said
    assert "blind 2, left out" in said
    assert "excluded by people: 1 cell" in said
    assert run_command("results", "show", path, "--json") == 0
    assert json.loads(capfd.readouterr().out)["blind"]["limits"] == pytest.approx(
        [0.0126, 0.9874], abs=1e-4
    )
