"""`qlvit-edge results`: look at, review, sign, export, keep and delete what runs have stored."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli import (
    results_export,
    results_keep,
    results_report,
    results_review,
    results_send,
    results_serve,
)
from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.result_options import results_argument, run_option
from qlvit_edge.cli.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from qlvit_edge.review.records import ReviewRecord
    from qlvit_edge.review.store import ReviewedRun


@click.group(cls=SuggestingGroup)
def command() -> None:
    """Review, sign, export and keep the results of `qlvit-edge run`.

    A run is collected, then reviewed (somebody looked at every cell), signed, exported. Nothing
    unsigned leaves as a result: it says PRELIMINARY. For research use only, not for diagnosis.

    \b
    Example:
      qlvit-edge results list results.sqlite
      qlvit-edge results show results.sqlite --run 1
      qlvit-edge results review results.sqlite --run 1 --by "A. Reader" --confirm-class neutrophil
      qlvit-edge results sign results.sqlite --run 1 --by "A. Reader"
      qlvit-edge results export results.sqlite --run 1 --out run1.csv --by "A. Reader"
    """


for _part in (
    results_review.review,
    results_review.sign,
    results_export.export,
    results_serve.serve,
    results_report.report,
    results_send.send,
    results_send.outbox_command,
    results_keep.delete,
    results_keep.backup,
    results_keep.verify,
):
    command.add_command(_part)


@command.command("list")
@results_argument
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_command(results: Path, as_json: bool) -> None:
    """List the runs in RESULTS with their samples and how far their review is.

    Reads files of any format and changes nothing, also while a run writes.

    \b
    Example:
      qlvit-edge results list results.sqlite
    """
    from qlvit_edge.files import json_text
    from qlvit_edge.review.cells import runs_of
    from qlvit_edge.review.opening import reading
    from qlvit_edge.review.rows import in_words
    from qlvit_edge.review.store import reviewed_run

    with reading(results) as connection:
        seen = [reviewed_run(connection, results, row.run) for row in runs_of(connection)]
    if as_json:
        click.echo(json_text([_as_dict(one) for one in seen]))
        return
    table = plain_table(
        f"Runs in {results.name}",
        "run>",
        "sample",
        "started (UTC)",
        "outcome",
        "model",
        "cells>",
        "review",
    )
    for one in seen:
        row = one.run
        said = "; ".join([one.status.state, *(f"by {name}" for name in one.status.signed_by)])
        started = in_words(row.started)[:19].replace("T", " ")
        table.add_row(
            row.run, row.sample or "", started, row.outcome, row.model, len(one.cells), said
        )
    table_console(wrap=False).print(table)
    if seen:
        next_step(f"qlvit-edge results show {shell_word(results)} --run {seen[-1].run.run}")


@command.command()
@results_argument
@run_option
@click.option("--cells", "with_cells", is_flag=True, help="List every cell, least certain first.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(results: Path, run: int | None, with_cells: bool, as_json: bool) -> None:
    """Show a run: its review, what is left to do, and the reviewed differential.

    \b
    Example:
      qlvit-edge results show results.sqlite --run 1 --cells
    """
    from qlvit_edge.files import json_text
    from qlvit_edge.review import log
    from qlvit_edge.review.opening import reading
    from qlvit_edge.review.store import reviewed_run

    with reading(results) as connection:
        seen = reviewed_run(connection, results, run)
        records = log.records_of(connection, seen.run.run)
    if as_json:
        said = _as_dict(seen)
        said["cells"] = [{**asdict(cell), "final": cell.final} for cell in seen.cells]
        said["records"] = [asdict(record) for record in records]
        said["differential"] = seen.differential().as_dict()
        estimate = seen.blind_estimate()
        said["blind"] = None if estimate is None else estimate.as_dict()
        click.echo(json_text(said))
        return
    _print_run(seen, records)
    if with_cells:
        _print_cells(seen)
    elif seen.left_to_do():
        number = seen.run.run
        next_step(f"qlvit-edge results show {shell_word(results)} --run {number} --cells")


def _print_run(seen: ReviewedRun, records: list[ReviewRecord]) -> None:
    from qlvit_edge.cli.count_text import print_differential
    from qlvit_edge.text import counted, plain

    row, status = seen.run, seen.status
    about = f"run {row.run} of {row.model}: {row.outcome}, {len(seen.cells)} cells"
    if row.sample is not None:
        about += f", sample {row.sample}"
    click.echo(plain(about))
    click.echo(plain(status.statement()))
    for left in seen.left_to_do():
        click.echo(f"to do: {left}")
    if any(cell.final is not None for cell in seen.cells):
        print_differential(seen.differential(), "Confirmed or changed by people")
    excluded = [cell for cell in seen.cells if cell.decision is not None and cell.final is None]
    if excluded:
        click.echo(f"excluded by people: {counted(len(excluded), 'cell')}")
    estimate = seen.blind_estimate()
    if estimate is not None:
        click.echo(plain(estimate.sentence()))
    if records:
        table = plain_table("Records", "number>", "at (UTC)", "by", "what", "reason")
        for one in records:
            table.add_row(
                one.number, one.at[:19].replace("T", " "), one.by, _what(one), one.reason or ""
            )
        table_console(wrap=False).print(table)
        click.echo(f"hash of the last record: {seen.head}")


def _what(record: ReviewRecord) -> str:
    if record.cells:
        shown = ", ".join(map(str, record.cells[:6])) + (", …" if len(record.cells) > 6 else "")
        to = f" to {record.label}" if record.label is not None else ""
        if record.kind == "blind" and record.label is None:
            to = ", left out"
        return f"{record.kind} {shown}{to}"
    if record.undoes is not None:
        return f"undo record {record.undoes}"
    return f"{record.kind} {record.to}" if record.to is not None else record.kind


def _print_cells(seen: ReviewedRun) -> None:
    table = plain_table(
        f"Cells of run {seen.run.run}, least certain first",
        *("cell>", "frame>", "source", "model says", "probability>", "verdict", "people say"),
    )
    for cell in sorted(seen.cells, key=lambda cell: (cell.probability, cell.id)):
        said = ""
        if cell.decision is not None:
            said = cell.final or f"excluded: {cell.decision.reason}"
        table.add_row(
            *(cell.id, cell.frame, cell.source, cell.label, f"{cell.probability:.1%}"),
            *(cell.verdict, said),
        )
    table_console(wrap=False).print(table)


def _as_dict(seen: ReviewedRun) -> dict[str, Any]:
    status = seen.status
    return {
        **asdict(seen.run),
        "cells": len(seen.cells),
        "state": status.state,
        "statement": status.statement(),
        "signed_by": list(status.signed_by),
        "left_to_do": seen.left_to_do(),
        "records": status.records,
        "head": seen.head,
    }
