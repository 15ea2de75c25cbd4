"""`cost` counts both ways, in a table and as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from command import refused, run_command


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run_command("cost", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_json_holds_both_counts_and_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "nano")
    assert set(found) == {"true", "paper_style", "parts"}
    for count in (found["true"], found["paper_style"], *found["parts"].values()):
        assert set(count) == {"parameters", "macs"}
        assert all(isinstance(number, int) and number >= 0 for number in count.values())
    for key in ("parameters", "macs"):
        assert sum(part[key] for part in found["parts"].values()) == found["true"][key]
        assert found["paper_style"][key] < found["true"][key]


def test_nano_keeps_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "nano", "--variant", "v4")["true"]
    assert found["parameters"] <= 700_000
    assert found["macs"] <= 60_000_000


def test_table_shows_the_numbers_of_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "paper")
    assert run_command("cost", "paper") == 0
    table = capsys.readouterr().out
    assert f"{found['true']['parameters']:,}" in table
    assert f"{found['paper_style']['macs'] / 1e6:.2f}" in table


def test_unknown_size_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    line = refused(capfd, "cost", "huge")
    assert line == "error: huge: is not a network size; choose one of paper, tiny, nano\n"


def test_unknown_variant_is_wrong_use(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("cost", "nano", "--variant", "v9") == 2
    assert "--variant" in capfd.readouterr().err


def test_in_a_pipe_the_table_does_not_depend_on_the_window(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stdin and stderr may still be a terminal of any width."""
    monkeypatch.delenv("COLUMNS", raising=False)
    tables = set()
    for width in (30, 200):
        monkeypatch.setattr(os, "get_terminal_size", lambda *_, w=width: os.terminal_size((w, 20)))
        assert run_command("cost", "nano") == 0
        tables.add(capsys.readouterr().out)
    assert len(tables) == 1
