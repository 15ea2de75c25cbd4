"""`qlvit-edge cost`: parameters and multiply-accumulates of a network size."""

from __future__ import annotations

import click

from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.network_options import network_options


@click.command("cost")
@click.argument("size")
@network_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    size: str,
    member: dict[str, object],
    as_json: bool,
) -> None:
    """Count what the network SIZE (nano, tiny or paper) costs, with 4 classes.

    The row `true` counts every parameter and product; `paper-style` counts as Table 3 of the
    paper does, which leaves out the KAN, the attention products and the dynamic kernels.

    \b
    Example:
      qlvit-edge cost nano
      qlvit-edge cost paper --variant v3 --kv-pool 4,2,1,1
    """
    require("train", "torch")
    from qlvit_edge.files import json_text
    from qlvit_edge.model.configs import size_config
    from qlvit_edge.model.cost import count_cost

    config = size_config(size, **member)
    cost = count_cost(config)
    if as_json:
        click.echo(json_text(cost.as_dict()))
        return
    table = plain_table(
        f"QLViT {config.variant.upper()} {size}, one image, 4 classes",
        *("part", "parameters>", "MMAC>"),
    )
    rows = [*cost.parts.items(), ("true", cost.true), ("paper-style", cost.paper_style)]
    for name, count in rows:
        if count.parameters or count.macs:
            if name == "true":
                table.add_section()
            table.add_row(name, f"{count.parameters:,}", f"{count.macs / 1e6:.2f}")
    table_console().print(table)
    next_step(
        f"qlvit-edge train --data FOLDER --split SPLIT --model {shell_word(size)} --out RUN",
        "train it",
    )
