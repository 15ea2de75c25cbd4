"""The differential as a table: of `run` at its end, and of `count`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import plain_table, table_console
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.cli.plain_table import PlainTable
    from qlvit_edge.differential.differential import ClassShare, Differential


def print_differential(found: Differential, title: str) -> None:
    """Print the differential, what stands beside it, and how far it can be trusted."""
    table_console().print(differential_table(found, title))
    if not found.cells:
        return
    if found.not_corrected is not None:
        click.echo(f"no corrected estimate: {found.not_corrected}")
        return
    sources = f" of {counted(found.held_out_sources, 'source')}" if found.held_out_sources else ""
    click.echo(
        "corrected for the model's mistakes, which are known from "
        f"{counted(found.held_out_cells, 'held-out cell')}{sources}"
    )


def differential_table(found: Differential, title: str) -> PlainTable:
    """Return the table: one row per class, then the cells beside the differential."""
    columns = ["cells", "count>", "share>", "95 %>"]
    corrected = found.cells and found.not_corrected is None
    if corrected:
        columns += ["corrected>", "95 %>"]
    if found.analyser is not None:
        columns += ["analyser>", "within 95 %"]
    table = plain_table(title, *columns)
    for one in found.classes:
        row = [one.label, str(one.count), _percent(one.share), _span(one.limits, found.cells)]
        if corrected:
            row += [_percent(one.corrected), _span(one.corrected_limits, found.cells)]
        if found.analyser is not None:
            row += _compared(one)
        table.add_row(*row)
    table.add_section()
    table.add_row("counted", str(found.cells))
    beside = {name: cells for name, cells in (found.apart | found.beside).items() if cells}
    for name, cells in beside.items():
        per_hundred = f"{100 * cells / found.cells:.3g} per 100" if found.cells else ""
        table.add_row(name, str(cells), per_hundred if name in found.apart else "")
    if beside:
        table.add_section()
        table.add_row("all", str(found.cells + sum(beside.values())))
    return table


def _compared(one: ClassShare) -> list[str]:
    if one.analyser is None:
        return ["", ""]
    return [_percent(one.analyser.share), "inside" if one.analyser.inside else "OUTSIDE"]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _span(limits: tuple[float, float] | None, cells: int) -> str:
    if limits is None or not cells:
        return ""
    low, high = limits
    return f"{100 * low:.1f}–{100 * high:.1f}%"
