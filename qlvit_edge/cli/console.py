"""Where commands print their tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 100


def table_console() -> Console:
    """Return a console on stdout: as wide as the terminal, or of fixed width in a pipe.

    Left to itself rich asks stdin and stderr for a width when stdout is a pipe, and the
    same command would write different files in different windows.
    """
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def plain(text: str) -> str:
    """Text of a foreign file without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text)
