"""Which version of the package is installed; a leaf that everything may import."""

from __future__ import annotations

from importlib.metadata import version


def installed_version() -> str:
    """Return the version of the installed package, such as ``"0.1.0"``."""
    return version("qlvit-edge")
