"""Options of `train` that say which images are drawn, and how they are varied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.choices import AUGMENT_PARTS, AUGMENTS, BALANCES
from qlvit_edge.cli.options import Whole
from qlvit_edge.text import did_you_mean, number_of

if TYPE_CHECKING:
    from qlvit_edge.data.folder import ImageFolder

Command = Callable[..., Any]


def _parse_shares(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """Parts of the augmentation and their shares."""
    shares: dict[str, float] = {}
    for value in values:
        part, _, number = value.partition("=")
        if part not in AUGMENT_PARTS:
            known = did_you_mean(part, AUGMENT_PARTS)
            raise click.BadParameter(f"{part!r} is no part of the augmentation{known}", ctx, param)
        try:
            shares[part] = number_of(number)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not PART=SHARE", ctx, param) from None
        if not 0 <= shares[part] <= 1:
            raise click.BadParameter(f"{value!r}: a share is from 0 to 1", ctx, param)
    return shares


_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--balance",
        type=click.Choice(BALANCES),
        help="For classes of unequal size: weigh rare ones more in the loss, draw all classes "
        "equally often, or (domains) all classes of all microscopes, and their sources. The best "
        "epoch is then the one with the highest mean recall of what is balanced  [default: none; "
        "domains where the data name two microscopes or more]",
    ),
    click.option(
        "--images-per-epoch",
        type=Whole(2),
        metavar="N",
        help="Images drawn in each epoch  [default: as many as there are]",
    ),
    click.option(
        "--augment",
        type=click.Choice(AUGMENTS),
        help="Vary images as their own microscope may show them, or as others would (stain, light, "
        "focus, camera, size of the crop)  [default: standard; microscopes where the data name two "
        "microscopes or more]",
    ),
    click.option(
        "--augment-share",
        "augment_shares",
        multiple=True,
        metavar="PART=SHARE",
        callback=_parse_shares,
        help="Share of the views that a part of `--augment microscopes` is applied to, 0 to 1; may "
        f"be given several times. Parts: {', '.join(AUGMENT_PARTS)}.",
    ),
)


def drawing_options(command: Command) -> Command:
    """Add the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def drawing_settings(folder: ImageFolder, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is drawn and how it is varied: as asked for, or as the number of microscopes asks."""
    several = len({image.domain for image in folder.images}) > 1
    augment = options["augment"] or AUGMENTS[several]
    if options["augment_shares"] and augment != "microscopes":
        raise click.UsageError("--augment-share needs --augment microscopes")
    return {
        "augment": augment,
        "augment_shares": options["augment_shares"],
        "balance": options["balance"] or ("domains" if several else BALANCES[0]),
        "images_per_epoch": options["images_per_epoch"],
    }
