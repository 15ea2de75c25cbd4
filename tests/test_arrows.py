"""Imports point one way: read from the source, so that no import has to succeed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import qlvit_edge

PACKAGE = Path(qlvit_edge.__file__).parent
DEVICE = ("bundled", "camera", "fields", "integer", "modelfile", "runtime")
WORKSTATION = {"torch", "tensorflow", "onnx", "onnxruntime", "safetensors", "sklearn", "scipy"}
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "converters": ("calibration", "cli", "evaluation"),
    "calibration": ("cli", "evaluation"),
    "model": ("calibration", "cli", "converters", "data", "evaluation", "runtime", "training"),
    "training": ("calibration", "cli", "converters"),
    **dict.fromkeys(
        DEVICE, ("calibration", "cli", "converters", "evaluation", "model", "training")
    ),
}


def modules(part: str) -> list[Path]:
    """The files of a package below `qlvit_edge`."""
    return sorted((PACKAGE / part).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file names in an import, wherever it stands, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            yield node.lineno, node.module
            for alias in node.names:  # from qlvit_edge import calibration
                yield node.lineno, f"{node.module}.{alias.name}"


def offences(part: str, forbidden: set[str]) -> list[str]:
    """The imports of a package that begin with a forbidden name."""
    return [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in modules(part)
        for line, name in imported(path)
        if any(name == barred or name.startswith(f"{barred}.") for barred in forbidden)
    ]


@pytest.mark.parametrize("part", FORBIDDEN)
def test_no_package_imports_what_stands_above_it(part: str) -> None:
    assert modules(part)
    assert not offences(part, {f"qlvit_edge.{name}" for name in FORBIDDEN[part]})


@pytest.mark.parametrize("part", DEVICE)
def test_device_packages_name_no_workstation_package(part: str) -> None:
    assert not offences(part, WORKSTATION)


def test_integer_arithmetic_knows_numpy_alone() -> None:
    allowed = ("numpy", "qlvit_edge.integer", "__future__", "collections", "dataclasses")
    allowed += ("functools", "math", "typing")
    others = [
        f"{path.name}:{line} imports {name}"
        for path in modules("integer")
        for line, name in imported(path)
        if not any(name == known or name.startswith(f"{known}.") for known in allowed)
        and name != "qlvit_edge"
    ]
    assert not others


def test_an_import_the_wrong_way_would_be_seen() -> None:
    """Calibration does import converters: the walk finds that."""
    assert offences("calibration", {"qlvit_edge.converters"})
