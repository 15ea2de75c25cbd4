"""The threat model names tests: each of them exists, and every promise has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "threat_model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and "|---" not in line]


def test_every_promise_names_a_test() -> None:
    promises = [row for row in ROWS if "What they try" not in row]
    assert len(promises) > 40
    assert [row for row in promises if "::" not in row.rstrip("| ").rpartition("|")[2]] == []


def test_every_part_says_what_is_not_stopped() -> None:
    silent = {"Why there is pickle", "A results file from elsewhere"}
    parts = dict(re.findall(r"^## (.+)\n([\s\S]*?)(?=^## |\Z)", PAGE, re.MULTILINE))
    assert {name for name, text in parts.items() if "*Not stopped.*" not in text} == silent


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_the_tests_that_are_named_exist(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {name for other, name in NAMED if other == file} <= there


def test_the_named_limits_are_those_of_the_code() -> None:
    from qlvit_edge.camera.multipart import MOST_BYTES
    from qlvit_edge.microscope import plain_schema
    from qlvit_edge.page.access import FAILURES
    from qlvit_edge.page.connections import CONNECTIONS, FROM_ONE, QUIET_SECONDS

    assert f"{MOST_BYTES >> 20} MiB per picture" in PAGE
    assert f"{plain_schema.MOST_BYTES >> 20} MiB each" in PAGE
    assert f"{CONNECTIONS} at a time, {FROM_ONE} from one address, {QUIET_SECONDS:.0f} s" in PAGE
    assert CONNECTIONS == 4 * FROM_ONE
    assert FAILURES == 5
