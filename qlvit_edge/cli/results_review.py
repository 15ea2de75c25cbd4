"""`qlvit-edge results review` and `results sign`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.options import Whole
from qlvit_edge.cli.result_options import by_option, results_argument, run_option, say
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.review.records import ReviewRecord
    from qlvit_edge.review.store import ReviewedRun, ReviewStore

_IN_BULK = ("accepted", "uncertain")
"""Verdicts of cells that may be confirmed by their class; others are named one by one."""


@dataclass(frozen=True)
class _Asked:
    """What a reader wants to do.

    Attributes:
        cells: numbers of cells.
        label: their class.
        new_class: whether that may be unknown to the model.
        confirm: whether their class is right.
        confirm_class: classes whose cells are right, where nobody has decided on them.
        exclude: whether they are not counted.
        reason: why.
        undo: number of a record; 0: the last decision.
        done: whether every cell was looked at.
        reopen: whether signatures are taken back.
    """

    cells: tuple[int, ...]
    label: str | None
    new_class: bool
    confirm: bool
    confirm_class: tuple[str, ...]
    exclude: bool
    reason: str | None
    undo: int | None
    done: bool
    reopen: bool


@click.command()
@results_argument
@run_option
@by_option
@click.option("--cell", "cells", type=Whole(), multiple=True, metavar="ID", help="A cell's number.")
@click.option("--class", "label", metavar="CLASS", help="The named cells are of this class.")
@click.option("--new-class", is_flag=True, help="CLASS may be one that the model does not have.")
@click.option("--confirm", is_flag=True, help="The named cells are what the model says.")
@click.option(
    "--confirm-class",
    multiple=True,
    metavar="CLASS",
    help="So are all accepted and uncertain cells of this class that nobody has decided on.",
)
@click.option("--exclude", is_flag=True, help="The named cells are not counted.")
@click.option("--reason", metavar="TEXT", help="Why; for --class, --exclude and --reopen.")
@click.option(
    "--undo",
    type=Whole(min=0),
    metavar="N",
    help="Take the decision of record N back; 0: the last one.",
)
@click.option("--done", is_flag=True, help="Every cell was looked at: the run is reviewed.")
@click.option("--reopen", is_flag=True, help="Take the signatures back, to change cells.")
def review(results: Path, run: int | None, by: str, **asked: object) -> None:
    """Say what cells in RESULTS are; every word is recorded for good, with name and time.

    Cells are named by the numbers that `results show --cells` lists. Decisions can be made while
    the run goes on. A decision takes a reviewed run back to collected; a signed one has to be
    reopened first.

    \b
    Example:
      qlvit-edge results review r.sqlite --by Ann --cell 17 --class monocyte --reason "folded"
      qlvit-edge results review r.sqlite --by Ann --confirm-class neutrophil
      qlvit-edge results review r.sqlite --by Ann --done
    """
    from qlvit_edge.review.store import ReviewStore

    wanted = _Asked(**asked)  # type: ignore[arg-type]
    _require_sense(wanted)
    if wanted.done:
        _end_killed(results, run)
    with ReviewStore(results, note=say) as store:
        seen = store.run(run)
        for record in _carry_out(store, seen, by, wanted):
            cells = f", {counted(len(record.cells), 'cell')}" if record.cells else ""
            to = f" to {record.label}" if record.label is not None else ""
            click.echo(plain(f"record {record.number}: {record.kind}{to}{cells}, by {record.by}"))
        now = store.run(seen.run.run)
    _say_what_is_left(results, now)


@click.command()
@results_argument
@run_option
@by_option
@click.option(
    "--readers",
    type=Whole(1, 2),
    default=1,
    show_default=True,
    help="Signatures that are needed: with 2, another reader must sign as well.",
)
def sign(results: Path, run: int | None, by: str, readers: int) -> None:
    """Sign a reviewed run in RESULTS.

    Refused while unknown cells are left or cells were not looked at. A name is what was typed:
    this program does not know who types it.

    \b
    Example:
      qlvit-edge results sign results.sqlite --run 1 --by "A. Reader"
    """
    from qlvit_edge.review.store import ReviewStore

    with ReviewStore(results, note=say) as store:
        number = store.run(run).run.run
        store.sign(number, by, readers)
        now = store.run(number)
    click.echo(plain(f"run {number}: {now.status.statement()}"))
    click.echo(f"hash of the last record: {now.head}")
    where = f"{shell_word(results)} --run {number}"
    if now.status.is_signed:
        next_step(f"qlvit-edge results export {where} --out run{number}.csv --by {shell_word(by)}")
    else:
        next_step(f"qlvit-edge results sign {where} --by NAME", "another reader")


def _require_sense(asked: _Asked) -> None:
    """Refuse options that do not go together, before the file is opened."""
    on_cells = [asked.label is not None, asked.confirm, asked.exclude]
    if sum(on_cells) > 1:
        raise click.UsageError("give one of --class, --confirm and --exclude")
    if asked.cells and not any(on_cells):
        raise click.UsageError("--cell: say what they are, with --class, --confirm or --exclude")
    if any(on_cells) and not asked.cells:
        raise click.UsageError("name the cells with --cell; `results show --cells` lists them")
    if (asked.label is not None or asked.exclude or asked.reopen) and not asked.reason:
        raise click.UsageError("--reason: every change needs one")
    steps = [*on_cells, asked.confirm_class, asked.undo is not None, asked.done, asked.reopen]
    if not any(steps):
        raise click.UsageError("nothing to record: give --cell, --confirm-class, --undo or --done")


def _carry_out(store: ReviewStore, seen: ReviewedRun, by: str, asked: _Asked) -> list[ReviewRecord]:
    """Do what was asked, in the order in which a person would."""
    run, reason, made = seen.run.run, asked.reason or "", []
    alike = _alike(seen, asked.confirm_class)
    if asked.reopen:
        made.append(store.reopen(run, reason=reason, by=by))
    if asked.undo is not None:
        made.append(store.undo(run, by, asked.undo or None))
    if asked.label is not None:
        made.append(
            store.change(run, asked.cells, asked.label, reason=reason, by=by, new=asked.new_class)
        )
    if asked.exclude:
        made.append(store.exclude(run, asked.cells, reason=reason, by=by))
    if asked.confirm:
        made.append(store.confirm(run, asked.cells, by))
    alike = [cell for cell in alike if cell not in asked.cells]
    if alike:
        made.append(store.confirm(run, alike, by))
    if asked.done:
        made.append(store.done(run, by))
    return made


def _alike(seen: ReviewedRun, classes: tuple[str, ...]) -> list[int]:
    """Cells of some classes that nobody has decided on, without those that the guard rejects."""
    from qlvit_edge.review.names import class_named

    names = {class_named(name, seen.labels) for name in classes}
    found = [
        cell.id
        for cell in seen.cells
        if cell.label in names and cell.decision is None and cell.verdict in _IN_BULK
    ]
    if names and not found:
        said = ", ".join(sorted(names))
        say(plain(f"--confirm-class: no cell of {said} is left that nobody has decided on"))
    return found


def _end_killed(results: Path, run: int | None) -> None:
    """Note that a killed run did not end, so that it can be reviewed to its end."""
    from qlvit_edge.review.opening import mark_ended, reading
    from qlvit_edge.review.store import run_row

    with reading(results) as connection:
        goes_on = run_row(connection, results, run).goes_on
    if goes_on:
        mark_ended(results)


def _say_what_is_left(results: Path, seen: ReviewedRun) -> None:
    number = seen.run.run
    left = seen.left_to_do()
    for text in left:
        click.echo(f"to do: {text}")
    where = f"{shell_word(results)} --run {number}"
    if left:
        next_step(f"qlvit-edge results show {where} --cells")
    elif seen.status.state == "collected":
        next_step(f"qlvit-edge results review {where} --by NAME --done")
    elif seen.status.state == "reviewed":
        next_step(f"qlvit-edge results sign {where} --by NAME")
