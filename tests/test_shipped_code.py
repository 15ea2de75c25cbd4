"""What shipped code does not do: rely on `assert`, run text, unpickle what others wrote."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import qlvit_edge
from qlvit_edge.presence import present

PACKAGE = Path(qlvit_edge.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
"""The installed package, with what stands in `converters` and `calibration`."""

RUNS_TEXT = {"eval", "exec", "compile", "__import__", "system", "popen", "getoutput"}
PICKLE_MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "cloudpickle",
}
LOOKED_AT = (ast.Assert, ast.Call, ast.Import, ast.ImportFrom)
BETWEEN_OWN_PROCESSES = {"inference/child.py", "inference/served.py"}


@pytest.fixture(scope="module")
def tree() -> list[tuple[str, ast.AST]]:
    """What is asserted, called and imported; only files that hold a word in question are parsed."""
    words = re.compile("|".join(["assert ", "shell", *RUNS_TEXT, *PICKLE_MODULES]))
    found: list[tuple[str, ast.AST]] = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if words.search(text):
            name = path.relative_to(PACKAGE).as_posix()
            found += [
                (name, node) for node in ast.walk(ast.parse(text)) if isinstance(node, LOOKED_AT)
            ]
    return found


def called(node: ast.Call) -> str:
    """The name of a function that stands alone, or after the module `os` or `subprocess`."""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.attr if function.value.id in ("os", "subprocess", "builtins") else ""
    return ""


def test_the_sources_are_all_there() -> None:
    parts = {path.relative_to(PACKAGE).parts[0] for path in SOURCES}
    assert len(SOURCES) > 500
    assert {"converters", "calibration", "inference", "cli"} <= parts


def test_nothing_is_asserted(tree: list[tuple[str, ast.AST]]) -> None:
    found = [f"{name}:{node.lineno}" for name, node in tree if isinstance(node, ast.Assert)]
    assert found == []


def test_no_text_is_run_and_no_shell_is_asked(tree: list[tuple[str, ast.AST]]) -> None:
    calls = [(name, node) for name, node in tree if isinstance(node, ast.Call)]
    assert [f"{name}:{node.lineno}" for name, node in calls if called(node) in RUNS_TEXT] == []
    shells = [
        f"{name}:{node.lineno}"
        for name, node in calls
        for keyword in node.keywords
        if keyword.arg == "shell"
    ]
    assert shells == []


def test_only_own_processes_are_unpickled(tree: list[tuple[str, ast.AST]]) -> None:
    """Files, cameras, databases and networks are read as JSON, TOML, text or by own parsers."""
    importing = set()
    for name, node in tree:
        if isinstance(node, ast.Import):
            modules = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules = {(node.module or "").partition(".")[0]}
        else:
            continue
        if modules & PICKLE_MODULES:
            importing.add(name)
    assert importing == BETWEEN_OWN_PROCESSES


def test_what_is_missing_is_said_by_name() -> None:
    assert present(0, "a count") == 0
    with pytest.raises(
        RuntimeError, match=r"^the bias is missing, which is an error in qlvit-edge$"
    ):
        present(None, "the bias")
