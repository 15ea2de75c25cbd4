"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from qlvit_edge.choices import KERNELS, RUNTIMES
from qlvit_edge.text import did_you_mean, plain

F = TypeVar("F", bound=Callable[..., Any])


def runtime_options(function: F) -> F:
    """Add `--kernels` and `--runtime`, which choose what executes a model file."""
    kernels = click.option(
        "--kernels",
        type=click.Choice(KERNELS),
        default=KERNELS[0],
        show_default=True,
        help="Implementation of the operators.",
    )
    runtime = click.option(
        "--runtime",
        type=click.Choice(RUNTIMES),
        default=RUNTIMES[0],
        show_default=True,
        help="TFLite runtime that executes the model.",
    )
    return kernels(runtime(function))


class WordList(click.ParamType[tuple[str, ...]]):
    """Words with commas between them, each one of a choice and taken once."""

    name = "list"

    def __init__(self, choices: Sequence[str]) -> None:
        self.choices = choices

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what the help shows in place of a value."""
        return f"[{'|'.join(self.choices)}],..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the words."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        for word in words:
            if word not in self.choices:
                choices = ", ".join(self.choices)
                meant = did_you_mean(word, self.choices)
                self.fail(f"{plain(word)!r} is not one of {choices}{meant or '.'}", param, ctx)
        return tuple(dict.fromkeys(words))
