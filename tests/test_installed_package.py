"""The package as it is installed: all of it, and under one name."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sysconfig
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"][
    "packages"
]


def source_of(package: str) -> Path:
    """Return the folder of the checkout that a package is made from."""
    _, *rest = package.split(".")
    top = CHECKOUT if rest and rest[0] in ("converters", "calibration") else CHECKOUT / "qlvit_edge"
    return top.joinpath(*rest)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_installed_with_all_its_modules(package: str) -> None:
    installed = Path(importlib.import_module(package).__path__[0])
    ours = {path.name for path in source_of(package).glob("*.py")}
    assert {path.name for path in installed.glob("*.py")} == ours
    if os.environ.get("QLVIT_EDGE_TESTED") == "installed":  # make test sets it
        assert installed.is_relative_to(sysconfig.get_path("purelib"))
        assert not installed.is_relative_to(CHECKOUT) or ".venv" in installed.parts


def test_no_folder_of_modules_is_forgotten_in_the_package_list() -> None:
    folders = {
        path.parent
        for top in ("qlvit_edge", "converters", "calibration")
        for path in (CHECKOUT / top).rglob("__init__.py")
    }
    assert folders == {source_of(package) for package in PACKAGES}


def test_generic_names_do_not_reach_site_packages() -> None:
    files = importlib.metadata.files("qlvit-edge")
    assert files is not None
    tops = {file.parts[0] for file in files}
    assert not tops & {"converters", "calibration", "tests", "benchmarks", "firmware_scripts"}


def test_bundled_files_are_installed() -> None:
    installed = Path(importlib.import_module("qlvit_edge.bundled").__path__[0])
    folders = (installed, CHECKOUT / "qlvit_edge" / "bundled")
    names = [
        {str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.suffix != ".pyc"}
        for folder in folders
    ]
    assert names[0] == names[1] != set()


def test_type_checkers_are_told() -> None:
    package = importlib.import_module("qlvit_edge")
    assert (Path(package.__path__[0]) / "py.typed").is_file()
