"""A table whose cells are text and nothing else; see `qlvit_edge.cli.console.plain_table`."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from qlvit_edge.text import plain


class PlainTable(Table):
    """Takes cells as they are: `[red]` is a name, not markup."""

    def add_row(self, *cells: object, **options: Any) -> None:
        """Add a row of what `str` makes of each cell."""
        super().add_row(*(Text(plain(str(cell))) for cell in cells), **options)
