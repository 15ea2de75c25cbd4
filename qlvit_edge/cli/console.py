"""Where commands print: tables, and what comes next."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.text import plain

if TYPE_CHECKING:
    from rich.console import Console

    from qlvit_edge.cli.plain_table import PlainTable

PIPE_WIDTH = 100
WIDE = 160
"""Columns of a table in a pipe, and of one that has many."""


def table_console(width: int = PIPE_WIDTH, *, wrap: bool = True) -> Console:
    """Return a console on stdout: as wide as the terminal, or of fixed width in a pipe.

    Left to itself rich asks stdin and stderr for a width when stdout is a pipe, and the
    same command would write different files in different windows.

    Args:
        width: columns in a pipe.
        wrap: break lines at the width; else they are as long as their text.
    """
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return _console(sys.stdout, width=None if on_terminal else width, soft_wrap=not wrap)


def error_console() -> Console:
    """Return a console on stderr, for what is drawn while a command works."""
    return _console(sys.stderr)


def _console(stream: Any, **options: Any) -> Console:
    """A console whose texts cannot drive the terminal: only its own colours reach it."""
    from rich.console import Console
    from rich.segment import Segment

    class EscapingConsole(Console):
        """Escapes every piece of text, however it came into what is drawn."""

        def render(self, *arguments: Any, **options: Any) -> Any:
            for piece in super().render(*arguments, **options):
                if piece.control or piece.text.isprintable():
                    yield piece
                else:
                    yield Segment(plain(piece.text, keep="\n"), piece.style)

    return EscapingConsole(file=getattr(stream, "styled", stream), highlight=False, **options)


def plain_table(title: str, *columns: str, **options: Any) -> PlainTable:
    """Return a table of plain text.

    Cells are texts as they are: `[red]` is a name, not markup, and a line break in a name is
    shown as such.

    Args:
        title: above the table.
        columns: headings; one that ends in `>` is aligned to the right.
        options: of rich's `Table`.
    """
    from rich.text import Text

    from qlvit_edge.cli.plain_table import PlainTable

    table = PlainTable(title=Text(plain(title), style="bold"), title_justify="left", **options)
    for column in columns:
        right = column.endswith(">")
        heading = Text(plain(column.removesuffix(">")))
        table.add_column(heading, justify="right" if right else "left")
    return table


def shell_word(value: object) -> str:
    """Return a path or name as a shell takes it, quoted where it must be."""
    return plain(shlex.quote(str(value)))


def next_step(command: str, why: str = "", *, as_json: bool = False) -> None:
    """End a command's output for people with what to do next, in one line on stdout.

    Args:
        command: what to type, or one sentence.
        why: what it is good for, in a few words: a comment, so that the line can be pasted.
        as_json: print nothing: the output is for programs.
    """
    if not as_json:
        click.echo(f"next: {command}{f'  # {why}' if why else ''}")
