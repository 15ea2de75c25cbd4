"""Options that choose a member of the network family, for `train` and `cost`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class _Numbers(click.ParamType):
    """Whole positive numbers with a character between them."""

    def __init__(self, name: str, separator: str, counts: tuple[int, ...], example: str) -> None:
        self.name = name
        self.separator = separator
        self.counts = counts
        self.example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse a text, refusing what is not as the example."""
        parts = str(value).split(self.separator)
        if len(parts) not in self.counts or not all(p.isdecimal() and int(p) > 0 for p in parts):
            self.fail(f"{value!r} is not as in {self.example}", param, ctx)
        return tuple(int(part) for part in parts)


def network_options(command: Command) -> Command:
    """Add --variant, --norm, --kan and --kv-pool, as `variant`, `norm`, `basis`, `kv_pool`."""
    for option in (
        click.option(
            "--kv-pool",
            type=_Numbers("S,S,S,S", ",", (4,), "2,2,1,1"),
            default="1,1,1,1",
            show_default=True,
            help="Stride by which the four stages pool keys and values; 1 does not.",
        ),
        click.option(
            "--kan",
            "basis",
            type=click.Choice(["linear", "cubic"]),
            default="linear",
            show_default=True,
            help="Basis of the KAN's univariate functions.",
        ),
        click.option(
            "--norm",
            type=click.Choice(["batch", "layer"]),
            default="batch",
            show_default=True,
            help="BatchNorm costs nothing on the device, LayerNorm some time.",
        ),
        click.option(
            "--variant",
            type=click.Choice(["v4", "v3"]),
            default="v4",
            show_default=True,
            help="V4 has the KAN where V3 has an MLP.",
        ),
    ):
        command = option(command)
    return command


def input_options(command: Command) -> Command:
    """Add --channels and --input-size, as `channels` and `input_size` ((h, w) or None)."""
    for option in (
        click.option(
            "--input-size",
            type=_Numbers("HxW", "x", (1, 2), "128 or 96x128"),
            callback=lambda _context, _option, size: size and (size[0], size[-1]),
            help="Height and width of the input in pixels, if not the size's own.",
        ),
        click.option(
            "--channels",
            type=click.Choice(["3", "1"]),
            default="3",
            show_default=True,
            callback=lambda _context, _option, count: int(count),
            help="3 for colour, 1 for grey images.",
        ),
    ):
        command = option(command)
    return command
