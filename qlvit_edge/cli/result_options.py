"""What the commands of `qlvit-edge results` share."""

from __future__ import annotations

from pathlib import Path

import click

from qlvit_edge.cli.options import Whole

results_argument = click.argument("results", type=click.Path(path_type=Path))

run_option = click.option(
    "--run",
    type=Whole(min=1),
    metavar="N",
    help="Number of the run  [default: the last]",
)

runs_option = click.option(
    "--run",
    "runs",
    type=Whole(min=1),
    multiple=True,
    metavar="N",
    help="Number of a run; may be given again  [default: all]",
)

by_option = click.option("--by", metavar="NAME", required=True, help="Who does it; is recorded.")


def say(text: str) -> None:
    """Tell the user something beside the output."""
    click.echo(text, err=True)
