"""What every command says about wrong values: "did you mean" for words, bounds for numbers."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from qlvit_edge.text import did_you_mean, plain


class _WordChoice(click.Choice[str]):
    """A choice whose error names the word that was probably meant."""

    def fail(
        self,
        message: str,
        param: click.Parameter | None = None,
        ctx: click.Context | None = None,
    ) -> NoReturn:
        """Refuse `self.word` and list the choices."""
        choices = ", ".join(self.choices)
        meant = did_you_mean(self.word, self.choices)
        super().fail(f"{plain(self.word)!r} is not one of {choices}{meant or '.'}", param, ctx)

    word = ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the choice that is ``value``."""
        self.word = str(value)
        chosen: str = super().convert(value, param, ctx)
        return chosen


MOST = 2**31 - 1
"""Largest number where an option names no other bound: libraries take 32 bits in places."""


_NUMBERS = (click.types.IntParamType, click.types.FloatParamType)


class _Within:
    """The callback of an option for a number, before the option's own."""

    def __init__(self, then: Any) -> None:
        self._then = then

    def __call__(self, ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        """Return a number that libraries can take.

        Raises:
            BadParameter: it is beyond `MOST`.
        """
        if isinstance(value, int | float) and abs(value) > MOST:
            raise click.BadParameter(f"{value:.6g} is more than {MOST}.", ctx, parameter)
        return value if self._then is None else self._then(ctx, parameter, value)


def _check(parameter: click.Parameter) -> None:
    kind = parameter.type
    if type(kind) is click.Choice:
        parameter.type = _WordChoice(kind.choices, kind.case_sensitive)
    elif isinstance(kind, _NUMBERS) and not isinstance(parameter.callback, _Within):
        parameter.callback = _Within(parameter.callback)


def suggesting(command: click.Command) -> click.Command:
    """Let a command answer wrong words with the nearest right one, and bound its numbers."""
    for parameter in command.params:
        _check(parameter)
    return command


class SuggestingGroup(click.Group):
    """A group that answers an unknown command with the nearest one it has."""

    def find_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name; None for no such command."""
        return super().get_command(ctx, cmd_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command that suggests."""
        found = self.find_command(ctx, cmd_name)
        return None if found is None else suggesting(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command among the arguments.

        Raises:
            UsageError: there is none of that name.
        """
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            names = self.list_commands(ctx)
            meant = did_you_mean(name, names) or f"; the commands are {', '.join(names)}"
            ctx.fail(f"No such command {plain(name)!r}{meant}")
        return super().resolve_command(ctx, args)
