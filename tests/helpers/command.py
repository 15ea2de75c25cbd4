"""The command line as a user meets it: exit code, and what it says when it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlvit_edge.cli import main


def run_command(*arguments: object) -> int:
    """Run the command line in this process; returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def refused(capfd: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """Run a command that must end with ``code`` and one line on stderr; returns that line.

    The line is "error: subject: finding; remedy".
    """
    capfd.readouterr()
    assert run_command(*arguments) == code
    line = capfd.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert "Traceback" not in line
    assert ": " in line.removeprefix("error: ")
    assert "; " in line
    return line


def files_below(folder: Path) -> set[str]:
    """Names of all files and folders below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
