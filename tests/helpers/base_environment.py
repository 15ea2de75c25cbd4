"""A Python environment with the package and its base dependencies alone, made offline.

The distributions are linked from the environment the tests run in, so that it takes a
second; a slow test makes one with pip.
"""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement


@dataclass(frozen=True)
class BaseEnvironment:
    """An interpreter that sees the package, its base dependencies and nothing else."""

    python: Path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a `qlvit-edge` command line."""
        return self.code("from qlvit_edge.cli import main; main()", *arguments)

    def code(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `python -c code arguments…` away from any checkout."""
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.python), "-c", code, *map(str, arguments)],
            cwd=self.python.parents[1],
            env=clean,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def base_distributions() -> list[metadata.Distribution]:
    """Return the installed distributions that the package requires without any extra."""
    found: dict[str, metadata.Distribution] = {}
    open_requirements = [Requirement(text) for text in metadata.requires("qlvit-edge") or ()]
    while open_requirements:
        requirement = open_requirements.pop()
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            distribution = metadata.distribution(requirement.name)
            found[requirement.name] = distribution
            open_requirements += [Requirement(text) for text in distribution.requires or ()]
    return list(found.values())


def make_base_environment(folder: Path) -> BaseEnvironment:
    """Make the environment in `folder`."""
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    for distribution in base_distributions():
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (packages / top).exists():
                (packages / top).symlink_to(source)
    _copy_package(packages)
    return BaseEnvironment(folder / "bin" / "python")


def _copy_package(packages: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("qlvit_edge", "qlvit_edge.converters", "qlvit_edge.calibration"):
        source = Path(importlib.import_module(name).__path__[0])
        target = packages.joinpath(*name.split("."))
        if not target.exists():  # an installed package holds the other two already
            shutil.copytree(source, target, ignore=ignore)
    information = packages / "qlvit_edge-0.dist-info"
    information.mkdir()
    text = metadata.distribution("qlvit-edge").read_text("METADATA")
    assert text is not None
    (information / "METADATA").write_text(text, encoding="utf-8")
