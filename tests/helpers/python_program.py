"""Executable Python files for stand-ins of other programs."""

from __future__ import annotations

import stat
import sys
from pathlib import Path


def python_program(path: Path, text: str) -> Path:
    """Write an executable file that runs Python code with this interpreter.

    A `#!` line cannot name an interpreter whose path holds a space: the shell starts it, from a
    line that Python takes for a string.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n"exec" "{sys.executable}" "$0" "$@"\n{text}')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
