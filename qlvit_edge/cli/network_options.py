"""Options that choose a member of the network family, for `train` and `cost`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from qlvit_edge.model.family import CHANNELS, KAN_BASES, NORMS, VARIANTS

Command = TypeVar("Command", bound=Callable[..., Any])


def _numbers(
    separator: str, counts: tuple[int, ...], example: str
) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...] | None]:
    """Return a callback that reads whole positive numbers with a character between them."""

    def read(
        context: click.Context, option: click.Parameter, text: str | None
    ) -> tuple[int, ...] | None:
        if text is None:
            return None
        parts = text.split(separator)
        if len(parts) not in counts or not all(
            p.isdecimal() and len(p) < 6 and int(p) > 0 for p in parts
        ):
            raise click.BadParameter(f"{text!r} is not as in {example}", context, option)
        return tuple(int(part) for part in parts)

    return read


def _height_and_width(
    context: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, int] | None:
    """Read one side of a square, or both."""
    sides = _numbers("x", (1, 2), "128 or 96x128")(context, option, text)
    return None if sides is None else (sides[0], sides[-1])


def network_options(command: Command) -> Command:
    """Add --variant, --norm, --kan and --kv-pool, as `variant`, `norm`, `basis`, `kv_pool`."""
    for option in (
        click.option(
            "--kv-pool",
            metavar="S,S,S,S",
            callback=_numbers(",", (4,), "2,2,1,1"),
            default="1,1,1,1",
            show_default=True,
            help="Stride by which the four stages pool keys and values; 1 does not.",
        ),
        click.option(
            "--kan",
            "basis",
            type=click.Choice(KAN_BASES),
            default=KAN_BASES[0],
            show_default=True,
            help="Basis of the KAN's univariate functions.",
        ),
        click.option(
            "--norm",
            type=click.Choice(NORMS),
            default=NORMS[0],
            show_default=True,
            help="BatchNorm costs nothing on the device, LayerNorm some time.",
        ),
        click.option(
            "--variant",
            type=click.Choice(VARIANTS),
            default=VARIANTS[0],
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
            metavar="HxW",
            callback=_height_and_width,
            help="Height and width of the input in pixels, if not the size's own.",
        ),
        click.option(
            "--channels",
            type=click.Choice([str(count) for count in CHANNELS]),
            default=str(CHANNELS[0]),
            show_default=True,
            callback=lambda _context, _option, count: int(count),
            help="3 for colour, 1 for grey images.",
        ),
    ):
        command = option(command)
    return command
