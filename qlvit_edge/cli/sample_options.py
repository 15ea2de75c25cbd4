"""What a run says of its slide: the sample, who runs it, and the frames that are kept for later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a name that can be stored and printed."""
    if value is None:
        return None
    from qlvit_edge.review.names import required

    return required(value, param.opts[0])


def sample_options(function: F) -> F:
    """Add `--sample`, `--operator` and `--keep`."""
    for option in (
        click.option(
            "--keep",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Folder for the frames in which cells are found, as they are (PNG): reviewed "
            "cells are cut from these for training.",
        ),
        click.option("--operator", metavar="NAME", callback=_name, help="Who runs it."),
        click.option("--sample", metavar="ID", callback=_name, help="What the slide is called."),
    ):
        function = option(function)
    return function
