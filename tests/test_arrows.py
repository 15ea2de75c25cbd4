"""Imports point one way: read from the source, so that no import has to succeed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import qlvit_edge

PACKAGE = Path(qlvit_edge.__file__).parent
LEAVES = {"choices", "credentials", "errors", "files", "memory", "palette", "progress", "quiet"}
LEAVES |= {
    "coral",
    "interruption",
    "launch",
    "presence",
    "reading",
    "sensors",
    "statistics",
    "text",
    "tomlfile",
    "version",
}
"""Modules that import none of the package but one another."""

IMAGES = {"imagefile", "imagefolder", "preprocess", "resample"}
"""From an image file to what a network is fed."""

DEVICE: dict[str, set[str]] = {
    "integer": {"choices"},
    "bundled": {"errors", "text"},
    "modelfile": LEAVES | IMAGES,
    "fields": LEAVES | IMAGES,
    "guard": LEAVES | {"fields", "modelfile"},
    "differential": LEAVES | {"modelfile"},
    "camera": LEAVES | IMAGES,
    "inference": LEAVES | IMAGES | {"bundled", "fields", "guard", "integer", "modelfile"},
    "measuring": LEAVES | {"inference", "modelfile"},
    "slide": LEAVES | IMAGES | {"fields"},
    "microscope": LEAVES
    | IMAGES
    | {"camera", "differential", "fields", "guard", "inference", "modelfile", "slide"},
    "review": LEAVES | IMAGES | {"differential", "fields", "microscope"},
    "exchange": LEAVES | IMAGES | {"differential", "fields", "microscope", "review"},
    "configuration": LEAVES,
    "supervision": LEAVES,
    "delivery": LEAVES | IMAGES | {"bundled", "inference", "modelfile"},
    "doctor": LEAVES
    | IMAGES
    | {"bundled", "camera", "configuration", "inference", "microscope", "review"},
    "page": LEAVES | IMAGES | {"inference", "microscope", "review", "slide"},
}
MAY_IMPORT: dict[str, set[str]] = {
    **DEVICE,
    **dict.fromkeys(LEAVES, LEAVES),
    **dict.fromkeys(IMAGES, LEAVES | IMAGES),
    "model": {"errors", "integer", "text", "tomlfile"},
    "data": LEAVES | IMAGES | {"fields"},
    "evaluation": LEAVES
    | IMAGES
    | {"bundled", "data", "fields", "guard", "inference", "measuring", "modelfile"},
    "reference": LEAVES
    | IMAGES
    | {"camera", "evaluation", "fields", "inference", "microscope", "review"},
    "deployment": LEAVES | IMAGES | {"data"},
    "training": LEAVES | IMAGES | {"data", "evaluation", "model"},
    "converters": LEAVES
    | IMAGES
    | {"bundled", "data", "guard", "inference", "integer", "measuring", "model", "modelfile"}
    | {"training"},
    "adaptation": LEAVES
    | IMAGES
    | {"calibration", "camera", "data", "evaluation", "fields", "model", "modelfile", "training"},
    "quantised": LEAVES
    | IMAGES
    | {"calibration", "converters", "data", "inference", "integer", "model", "training"},
    "calibration": LEAVES
    | IMAGES
    | {"bundled", "converters", "data", "evaluation", "fields", "guard", "inference", "integer"}
    | {"measuring", "model", "modelfile", "training"},
}
"""What each package of `qlvit_edge` may import besides itself; `cli` may import all of them."""

WORKSTATION = {"torch", "tensorflow", "onnx", "onnxruntime", "safetensors", "sklearn", "scipy"}


def modules(part: str) -> list[Path]:
    """The files of a package below `qlvit_edge`, or the one module of that name."""
    return sorted((PACKAGE / part).rglob("*.py")) or [PACKAGE / f"{part}.py"]


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


def everything() -> set[str]:
    """The packages and modules right below `qlvit_edge`."""
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return found | {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}


def test_every_package_has_its_arrows() -> None:
    assert everything() == {*MAY_IMPORT, "cli"}


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_packages_import_only_what_stands_below_them(part: str) -> None:
    barred = everything() - MAY_IMPORT[part] - {part}
    assert not offences(part, {f"qlvit_edge.{name}" for name in barred})


@pytest.mark.parametrize("part", sorted(LEAVES | IMAGES))
def test_modules_are_where_the_arrows_look(part: str) -> None:
    assert modules(part)[0].is_file()


@pytest.mark.parametrize("part", DEVICE)
def test_device_packages_name_no_workstation_package(part: str) -> None:
    assert not offences(part, WORKSTATION)


def test_integer_arithmetic_knows_numpy_alone() -> None:
    allowed = (
        "numpy",
        "qlvit_edge.integer",
        "qlvit_edge.choices",
        "__future__",
        "collections",
        "dataclasses",
    )
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
