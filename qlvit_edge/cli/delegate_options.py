"""Options that choose an Edge TPU, for the commands that can use one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def delegate_options(without_it: str) -> Callable[[F], F]:
    """Add `--delegate` and `--delegate-option`; the command gets both as one ``delegate``.

    Args:
        without_it: what the command does while the Edge TPU is lost, a sentence for the help.
    """
    library = click.option(
        "--delegate",
        "library",
        metavar="LIBRARY",
        help="Run a chain's compiled segments on an Edge TPU: edgetpu, or name or path of its "
        f"library. {without_it} Never tried on an Edge TPU.",
    )
    told = click.option(
        "--delegate-option",
        "told",
        multiple=True,
        metavar="NAME=VALUE",
        help="What the library is told, such as device=usb:1, the second stick; can be given "
        "several times.",
    )

    def add(function: F) -> F:
        @functools.wraps(function)
        def with_delegate(
            *arguments: Any, library: str | None, told: tuple[str, ...], **options: Any
        ) -> Any:
            return function(*arguments, delegate=_delegate(library, told), **options)

        return library(told(with_delegate))  # type: ignore[return-value]

    return add


def _delegate(library: str | None, told: tuple[str, ...]) -> object:
    """Return the `Delegate` that is asked for; None where none is.

    Raises:
        UsageError: options without a library, or one that is no `NAME=VALUE`.
    """
    from qlvit_edge.inference.delegates import delegate_of

    if library is None:
        if told:
            raise click.UsageError("--delegate-option needs --delegate")
        return None
    try:
        return delegate_of(library, told)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--delegate-option") from None
