"""Options that choose a member of the network family, for `train` and `cost`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from qlvit_edge.model.family import CHANNELS, KAN_BASES, NORMS, VARIANTS

Command = Callable[..., Any]


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
            p.isascii() and p.isdecimal() and len(p) < 6 and int(p) > 0 for p in parts
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


_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "variant": click.option(
        "--variant",
        type=click.Choice(VARIANTS),
        help="Row of the ablation, from MViTv2 to the full network  [default: v4, or as the "
        "size's file says]",
    ),
    "norm": click.option(
        "--norm",
        type=click.Choice(NORMS),
        help="Normalisation: BatchNorm costs nothing on the device, LayerNorm some time  "
        "[default: the variant's: batch for v3 and v4, layer before]",
    ),
    "kan_basis": click.option(
        "--kan",
        "kan_basis",
        type=click.Choice(KAN_BASES),
        help=f"Basis of the KAN's univariate functions  [default: {KAN_BASES[0]}]",
    ),
    "kv_pool": click.option(
        "--kv-pool",
        metavar="S,S,S,S",
        callback=_numbers(",", (4,), "2,2,1,1"),
        help="Stride by which the four stages pool keys and values  [default: the variant's: "
        "1,1,1,1 for v3 and v4, 4,2,1,1 before]",
    ),
    "channels": click.option(
        "--channels",
        type=click.Choice([str(count) for count in CHANNELS]),
        callback=lambda _context, _option, count: None if count is None else int(count),
        help=f"3 for colour, 1 for grey images  [default: {CHANNELS[0]}]",
    ),
    "input_size": click.option(
        "--input-size",
        metavar="HxW",
        callback=_height_and_width,
        help="Height and width of the input in pixels, if not the size's own.",
    ),
}
"""By the field of :class:`~qlvit_edge.model.configs.NetworkConfig` that an option sets."""


def network_options(command: Command) -> Command:
    """Add the options above; the command takes what they say as `member`.

    `member` holds the changes of a configuration that
    :func:`~qlvit_edge.model.configs.size_config` takes.
    """

    @wraps(command)
    def with_member(**values: Any) -> None:
        chosen = {field: values.pop(field) for field in _OPTIONS}
        member = {field: value for field, value in chosen.items() if value is not None}
        command(member=member, **values)

    extended: Command = with_member
    for option in reversed(_OPTIONS.values()):
        extended = option(extended)
    return extended
