"""`qlvit-edge cost`: parameters and multiply-accumulates of a network size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.network_options import network_options

if TYPE_CHECKING:
    from qlvit_edge.model.configs import NetworkConfig


@click.command("cost")
@click.argument("size")
@network_options
@click.option(
    "--ablation",
    is_flag=True,
    help="Count every variant of SIZE, from MViTv2 to V4; the paper's size beside its Table 3.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    size: str,
    member: dict[str, object],
    ablation: bool,
    as_json: bool,
) -> None:
    """Count what the network SIZE (nano, tiny, paper or a TOML file) costs, with 4 classes.

    The row `true` counts every parameter and product; `paper-style` counts as Table 3 of the
    paper does, which leaves out the KAN, the attention products, the dynamic kernels and relative
    positions.

    \b
    Example:
      qlvit-edge cost nano
      qlvit-edge cost paper --variant v3 --kv-pool 4,2,1,1
      qlvit-edge cost paper --ablation
      qlvit-edge cost my-size.toml
    """
    require("train", "torch")
    from qlvit_edge.model.configs import size_config
    from qlvit_edge.model.family import PARTS

    if not ablation:
        _show_one(size_config(size, **member), size, as_json)
        return
    if "variant" in member:
        raise click.UsageError("--ablation counts every variant: leave --variant out")
    _show_ablation([size_config(size, **{**member, "variant": v}) for v in PARTS], as_json)


def _show_one(config: NetworkConfig, size: str, as_json: bool) -> None:
    from qlvit_edge.files import json_text
    from qlvit_edge.model.cost import count_cost
    from qlvit_edge.model.family import title

    cost = count_cost(config)
    if as_json:
        click.echo(json_text(cost.as_dict()))
        return
    table = plain_table(
        f"{title(config.variant)} {config.size}, one image, 4 classes",
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


def _show_ablation(configs: list[NetworkConfig], as_json: bool) -> None:
    from qlvit_edge.files import json_text
    from qlvit_edge.model.cost import TABLE_3, count_cost
    from qlvit_edge.model.family import title

    costs = {config.variant: count_cost(config) for config in configs}
    if as_json:
        click.echo(json_text({variant: cost.as_dict() for variant, cost in costs.items()}))
        return
    printed = TABLE_3 if configs[0].size == "paper" else {}
    giga = "GMAC" if printed else "MMAC"
    ways = ("paper", "paper-style", "true") if printed else ("paper-style", "true")
    table = plain_table(
        f"{configs[0].size}, one image, 4 classes",
        "variant",
        *(f"{unit}{way}>" for unit in ("M parameters: ", f"{giga}: ") for way in ways),
    )
    for variant, cost in costs.items():
        counts = (cost.paper_style, cost.true)
        parameters = [f"{count.parameters / 1e6:.3f}" for count in counts]
        macs = [f"{count.macs / 1e9:.3f}" if printed else f"{count.macs / 1e6:.2f}"
                for count in counts]  # fmt: skip
        if printed:
            parameters.insert(0, f"{printed[variant][0]:.2f}")
            macs.insert(0, f"{printed[variant][1]:.2f}")
        table.add_row(title(variant), *parameters, *macs)
    table_console().print(table)
