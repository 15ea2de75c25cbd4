"""The options of a count: when it has enough cells, and what it is compared with."""

from __future__ import annotations

import click

from qlvit_edge.cli.options import Whole

stop_at_option = click.option(
    "--stop-at",
    type=Whole(min=1),
    metavar="N",
    help="Stop after the frame in which N cells are counted: whole white cells whose answer is "
    "accepted, each once where --count-once is on.",
)

analyser_option = click.option(
    "--analyser",
    metavar="SHARES",
    help='Compare with an analyser\'s differential, in percent: "neutrophil=62,lymphocyte=28,…" '
    "with `other` for what the model does not know, or a .toml file with [differential].",
)
