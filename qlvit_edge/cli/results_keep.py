"""`qlvit-edge results delete`, `results backup` and `results verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.options import Number
from qlvit_edge.cli.result_options import by_option, results_argument, say
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.review.keeping import Doomed


@click.command()
@results_argument
@click.option("--sample", metavar="ID", help="All runs of this sample, signed ones too.")
@click.option(
    "--older-than",
    type=Number(min=0),
    metavar="DAYS",
    help="Runs that began longer ago and are not signed.",
)
@click.option(
    "--above",
    type=Number(min=0),
    metavar="MB",
    help="The oldest runs that are not signed, until the file and the pictures of its runs are "
    "about so small.",
)
@by_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(
    results: Path,
    sample: str | None,
    older_than: float | None,
    above: float | None,
    by: str,
    yes: bool,
) -> None:
    """Delete runs from RESULTS for good, with their cells, reviews and saved pictures.

    Refused while a run writes to the file. That runs were deleted, when and by whom stays in the
    file; nothing of what they held does.

    \b
    Example:
      qlvit-edge results delete results.sqlite --sample S-0815 --by "A. Reader"
      qlvit-edge results delete results.sqlite --older-than 90 --by cron --yes
    """
    from qlvit_edge.review import keeping

    if sum(option is not None for option in (sample, older_than, above)) != 1:
        raise click.UsageError("give one of --sample, --older-than and --above")
    if sample is not None:
        doomed = keeping.of_sample(results, sample)
    elif older_than is not None:
        doomed = keeping.older_than(results, older_than)
    else:
        doomed = keeping.above(results, above or 0.0)
    if not doomed:
        click.echo("nothing to delete")
        return
    _print_doomed(doomed)
    if not yes:
        click.confirm("Delete these for good?", abort=True)
    left = keeping.delete(results, doomed, by)
    click.echo(f"deleted: {counted(len(doomed), 'run')}")
    for picture in left:
        say(plain(f"{picture}: could not be deleted; delete it by hand"))
    if left:
        click.get_current_context().exit(1)


def _print_doomed(doomed: list[Doomed]) -> None:
    from qlvit_edge.review.rows import in_words

    table = plain_table(
        "To delete", "run>", "sample", "started (UTC)", "cells>", "pictures>", "review"
    )
    for one in doomed:
        started = in_words(one.run.started)[:19].replace("T", " ")
        table.add_row(
            *(one.run.run, one.run.sample or "", started, one.cells, len(one.pictures)), one.state
        )
    table_console(wrap=False).print(table)


@click.command()
@results_argument
@click.argument("copy", type=click.Path(path_type=Path))
def backup(results: Path, copy: Path) -> None:
    """Copy RESULTS to COPY, as it is at one moment, also while a run writes to it.

    Pictures that runs saved are not in it.

    \b
    Example:
      qlvit-edge results backup results.sqlite /mnt/usb/results-2026-11-27.sqlite
    """
    from qlvit_edge.review.keeping import back_up

    back_up(results, copy)
    click.echo(f"copied to {plain(str(copy))}")
    next_step(f"qlvit-edge results verify {shell_word(copy)}")


@click.command()
@results_argument
def verify(results: Path) -> None:
    """Look for anything in RESULTS that was altered since it was written.

    Checks every page, every record of every review, and that the cells and runs which records
    speak of are as they were: all of a signed run, and of others the cells that people decided
    on. Exit code 1 where something was altered.

    \b
    Example:
      qlvit-edge results verify results.sqlite
    """
    from qlvit_edge.review.verifying import findings_in

    findings = findings_in(results)
    for finding in findings:
        click.echo(plain(f"altered: {finding}"))
    if findings:
        click.get_current_context().exit(1)
    click.echo("nothing was altered")
