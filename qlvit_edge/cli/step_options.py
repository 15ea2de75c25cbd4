"""Options of `train` that say how a step is taken, and where decoded images are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from qlvit_edge.choices import CACHES, PRECISIONS
from qlvit_edge.cli.options import Number

Command = Callable[..., Any]

_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--mixup",
        type=Number(0),
        default=0.0,
        show_default=True,
        metavar="ALPHA",
        help="Mix every image with another one, by a share drawn from Beta(ALPHA, ALPHA); 0: not.",
    ),
    click.option(
        "--label-smoothing",
        type=Number(0, 0.9),
        default=0.0,
        show_default=True,
        metavar="SHARE",
        help="Share of every label that is spread evenly over all classes.",
    ),
    click.option(
        "--warm-up",
        type=Number(0, 0.9),
        default=0.15,
        show_default=True,
        metavar="SHARE",
        help="Share of the epochs in which the learning rate rises, before its cosine to zero.",
    ),
    click.option(
        "--gradient-clip",
        type=Number(0),
        default=2.0,
        show_default=True,
        metavar="NORM",
        help="Largest norm of a step's gradient; 0: any.",
    ),
    click.option(
        "--average-decay",
        type=Number(0, 0.99999),
        default=0.998,
        show_default=True,
        metavar="SHARE",
        help="What the moving average of the weights, which is what is kept, keeps of itself in "
        "every step.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=PRECISIONS[0],
        show_default=True,
        help="Numbers that the network is computed in while it is trained; weights, validation and "
        "everything kept are float32.",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the network for training (torch.compile): minutes at first, faster steps.",
    ),
    click.option(
        "--channels-last",
        is_flag=True,
        help="Lay out the network's maps with their channels last in memory.",
    ),
    click.option(
        "--cache",
        type=click.Choice(CACHES),
        default=CACHES[0],
        show_default=True,
        help="Where decoded images are kept: in memory, or in a file in OUT that is removed at the "
        "end; auto takes the file for what does not fit half of the memory that is free.",
    ),
)

SETTINGS = (
    *("mixup", "label_smoothing", "warm_up", "gradient_clip", "average_decay"),
    *("precision", "compiled", "channels_last"),
)
"""Those that decide a training, as `TrainingSettings` names them."""


def step_options(command: Command) -> Command:
    """Add the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def step_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of them a run records."""
    return {name: options[name] for name in SETTINGS}
