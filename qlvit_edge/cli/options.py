"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from qlvit_edge.training.checkpoint import RunConfig

F = TypeVar("F", bound=Callable[..., Any])


def runtime_options(function: F) -> F:
    """Add `--kernels` and `--runtime`, which choose what executes a model file."""
    kernels = click.option(
        "--kernels",
        type=click.Choice(["auto", "builtin", "reference"]),
        default="auto",
        show_default=True,
        help="Implementation of the operators.",
    )
    runtime = click.option(
        "--runtime",
        type=click.Choice(["litert", "tflite-runtime"]),
        default="litert",
        show_default=True,
        help="TFLite runtime that executes the model.",
    )
    return kernels(runtime(function))


def white_level_option(function: F) -> F:
    """Add `--white-level`, which holds for every picture that the command reads."""
    option = click.option(
        "--white-level",
        type=click.IntRange(1, 65535),
        callback=_use_white_level,
        expose_value=False,
        metavar="N",
        help="Value that is white in pictures of 16 bits, such as 4095 from a camera of 12 bits.",
    )
    return option(function)


def _use_white_level(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    """Read pictures with this white level until the command ends."""
    if value is None:
        return
    from qlvit_edge.preprocess import set_white_level

    set_white_level(value)
    ctx.call_on_close(lambda: set_white_level(None))


def white_level_of(run: RunConfig) -> None:
    """Read pictures as the run was trained on them, where the user says nothing else."""
    from qlvit_edge.preprocess import set_white_level, white_level

    if white_level() is None and run.white_level is not None:
        set_white_level(run.white_level)
        click.get_current_context().call_on_close(lambda: set_white_level(None))
