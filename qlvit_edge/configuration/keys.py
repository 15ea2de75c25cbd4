"""What a configuration file may say: the arguments and options of a command, by their long names.

``--cell-size`` is the key ``cell-size``, ``MODEL`` is ``model``; ``--count-once/--no-count-once``
is ``count-once`` and true or false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import click

Kind = Literal[
    "true or false", "a whole number", "a number", "a text", "a text or true", "a list of texts"
]
"""What stands behind the equals sign. True instead of a text: as the option without its value."""

CONFIG_OPTION = "config"
"""The option that names the file; no file names another."""


@dataclass(frozen=True)
class Key:
    """One thing that a file may say.

    Attributes:
        name: the key.
        parameter: of the command.
        kind: of its value.
    """

    name: str
    parameter: click.Parameter
    kind: Kind

    @property
    def field(self) -> str:
        """The parameter's name as the command's function has it."""
        return str(self.parameter.name)

    def stated(self, value: Any) -> Any:
        """Return a value of a file as the command line takes it.

        Raises:
            ValueError: it is of another kind; the text says which one is needed.
        """
        if self.kind == "true or false" and isinstance(value, bool):
            return value
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise ValueError("a number of TOML has 64 bits")
        if self.kind == "a whole number" and type(value) is int:
            return value
        if self.kind == "a number" and type(value) in (int, float):
            return value
        if self.kind in ("a text", "a text or true") and isinstance(value, str):
            return _text(value)
        if self.kind == "a list of texts" and isinstance(value, list):
            return tuple(_text(one) for one in value)
        if self.kind == "a text or true" and value is True:
            return getattr(self.parameter, "flag_value", None)
        raise ValueError(f"{self.kind} is needed here, not {_in_words(value)}")


def keys_of(command: click.Command) -> dict[str, Key]:
    """Return what a file for a command may say, by key, in the order of its help."""
    found = {}
    for parameter in command.params:
        name = _name(parameter)
        if name != CONFIG_OPTION:
            found[name] = Key(name, parameter, _kind(parameter))
    return found


def _name(parameter: click.Parameter) -> str:
    """Return the key of a parameter: its first long name, or an argument's own."""
    if isinstance(parameter, click.Argument):
        return str(parameter.name)
    return next(name for name in parameter.opts if name.startswith("--")).removeprefix("--")


def _kind(parameter: click.Parameter) -> Kind:
    """Return what a value of a parameter is.

    Raises:
        TypeError: it takes several values at once; no kind says how many.
    """
    if parameter.nargs != 1:
        raise TypeError(f"{parameter.name} takes several values, which no configuration file has")
    if parameter.multiple:
        return "a list of texts"
    if getattr(parameter, "is_flag", False):
        return "true or false"
    if isinstance(parameter.type, click.types.IntParamType):
        return "a whole number"
    if isinstance(parameter.type, click.types.FloatParamType):
        return "a number"
    return "a text or true" if takes_no_value(parameter) else "a text"


def takes_no_value(parameter: click.Parameter) -> bool:
    """Whether an option for a text may also stand without one."""
    return isinstance(parameter, click.Option) and isinstance(parameter.flag_value, str)


def _text(value: Any) -> str:
    """Return a text that an option can have.

    Raises:
        ValueError: it is something else, or holds what no command line can.
    """
    if not isinstance(value, str):
        raise ValueError(f"a list of texts is needed here, not one with {_in_words(value)}")
    if "\0" in value:
        raise ValueError("no text of an option holds a null character")
    return value


def _in_words(value: Any) -> str:
    """Name what stands in a file, as TOML calls it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    named = {int: "a whole number", float: "a number", str: "a text in quotes"}
    named |= {list: "a list", dict: "a table"}
    return named.get(type(value), "a date or time")
