"""Numbers on the command line: in ASCII digits, and no NaN.

NaN passes every limit it is compared with; and Python takes ``6_0`` and digits of other scripts,
which somebody has mistyped or pasted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlvit_edge.cli import cli
from qlvit_edge.cli.options import Number, Whole
from qlvit_edge.differential.analyser import read_analyser
from qlvit_edge.errors import DataError
from qlvit_edge.fields.target import target_of


def number_options(command: click.Command, path: str) -> Iterator[tuple[str, click.Option]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from number_options(below, f"{path} {name}")
    for option in command.params:
        if isinstance(option, click.Option) and isinstance(
            option.type, (click.types.IntParamType, click.types.FloatParamType)
        ):
            yield f"{path} {option.opts[0]}", option


OPTIONS = dict(number_options(cli, "qlvit-edge"))


def test_the_budget_is_among_them() -> None:
    assert "qlvit-edge convert --max-drop" in OPTIONS
    assert "qlvit-edge train --rate" in OPTIONS
    assert "qlvit-edge run --stop-at" in OPTIONS
    assert "qlvit-edge results review --cell" in OPTIONS
    assert "qlvit-edge data split --seed" in OPTIONS


@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "NaN"])
@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_no_number_is_refused(name: str, value: str) -> None:
    option = OPTIONS[name]
    with pytest.raises(click.BadParameter, match=r"is not a finite number|is not a whole number"):
        option.type.convert(value, option, None)


@pytest.mark.parametrize("value", ["6_0", "６0", "٣", "1_0.5", "0x10", "²", "", "1,5"])
@pytest.mark.parametrize("name", OPTIONS)
def test_digits_that_nobody_writes_are_refused(name: str, value: str) -> None:
    option = OPTIONS[name]
    with pytest.raises(click.BadParameter, match="is not a"):
        option.type.convert(value, option, None)


@given(st.integers(), st.sampled_from(["", "+"]), st.sampled_from(["", " "]))
def test_whole_numbers_are_what_they_say(value: int, sign: str, space: str) -> None:
    text = f"{space}{sign if value >= 0 else ''}{value}{space}"
    assert Whole().convert(text, None, None) == value
    assert Number().convert(text, None, None) == float(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_what_they_say(value: float) -> None:
    assert Number().convert(repr(value), None, None) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (target_of, "region:1_0,20,30,40"),
        (target_of, "region:１0,20,30,40"),
        (target_of, "region:1e999,20,30,40"),
        (read_analyser, "neutrophil=6_0,other=40"),
        (read_analyser, "neutrophil=６0,other=40"),
    ],
)
def test_numbers_inside_other_options_are_read_alike(
    read: Callable[[str], object], text: str
) -> None:
    with pytest.raises((ValueError, DataError), match=r"number"):
        read(text)
