"""What `convert --int16-layers` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import plain_table, table_console
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.calibration.int16_report import Int16Report


def print_int16(report: Int16Report) -> None:
    """Print the int16 layers, what they gain and what they cost."""
    table = plain_table(
        f"Layers in int16, the worst on {counted(report.images, 'image')}",
        *("layer", "share of the noise>", "activations in int16"),
    )
    for layer in report.layers:
        names = (name.removeprefix(f"{layer.layer}/") for name in layer.int16)
        table.add_row(layer.layer, f"{layer.share:.1%}", ", ".join(names))
    table_console().print(table)
    for name in report.skipped:
        click.echo(f"note: {name} stays int8: none of its activations can be int16")
    before, after = report.int8, report.int16
    click.echo(
        f"logits off by {before.relative_rms:.2%} in int8, {after.relative_rms:.2%} now; "
        f"same class as float {before.agreement:.1%}, {after.agreement:.1%} now"
    )
    if after.relative_rms >= before.relative_rms:
        click.echo("note: no gain: most of the noise is from what stays int8, as softmaxes do")
    click.echo(
        f"an inference takes {report.time_ratio:.2f} times as long, one thread, in turns: "
        f"{before.p50_ms:.2f} ms in int8, {after.p50_ms:.2f} ms now"
    )
