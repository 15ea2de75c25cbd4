"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

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
