"""Numbers on the command line: NaN passes every limit it is compared with, so it is refused."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from qlvit_edge.cli import cli


def number_options(command: click.Command, path: str) -> Iterator[tuple[str, click.Option]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from number_options(below, f"{path} {name}")
    for option in command.params:
        if isinstance(option, click.Option) and isinstance(
            option.type, (click.FloatRange, click.types.FloatParamType)
        ):
            yield f"{path} {option.opts[0]}", option


OPTIONS = dict(number_options(cli, "qlvit-edge"))


def test_the_budget_is_among_them() -> None:
    assert "qlvit-edge convert --max-drop" in OPTIONS
    assert "qlvit-edge train --rate" in OPTIONS


@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "NaN"])
@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_no_number_is_refused(name: str, value: str) -> None:
    option = OPTIONS[name]
    with pytest.raises(click.BadParameter, match=r"is not a finite number|is not in the range"):
        option.type.convert(value, option, None)
