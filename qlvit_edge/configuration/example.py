"""A configuration file with every key of a command: some set, the others as comments."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

import click

from qlvit_edge.configuration.keys import Key, keys_of

_COLUMNS = 96


def example_of(command: click.Command, values: Mapping[str, Any], head: str) -> str:
    """Return a file's text.

    Args:
        command: whose options it sets.
        values: by key, of what is set; everything else stands there as a comment.
        head: what stands on top, without the comment's marks.
    """
    parts = [_comment(head)]
    for name, key in keys_of(command).items():
        mark, value = ("", values[name]) if name in values else ("#", _sample(key))
        parts.append(f"{_comment(_about(key, command))}\n{mark}{name} = {_toml(value)}")
    return "\n\n".join(parts) + "\n"


def _comment(text: str) -> str:
    paragraphs = (
        textwrap.fill(part, _COLUMNS, break_on_hyphens=False) for part in text.split("\n")
    )
    return "\n".join(f"# {line}".rstrip() for part in paragraphs for line in part.split("\n"))


def _about(key: Key, command: click.Command) -> str:
    """Return what an option's help says; of an argument, what the command's own help does."""
    if isinstance(key.parameter, click.Option) and key.parameter.help:
        about = " ".join(key.parameter.help.split())
    else:
        shown = key.name.upper()
        found = re.search(rf"\b{shown} is .*?\.(?=\s|$)", command.help or "", re.DOTALL)
        about = " ".join(found[0].split()) if found else f"{shown}: see the command's help."
    choices = getattr(key.parameter.type, "choices", None)
    return f"{about} One of: {', '.join(map(str, choices))}." if choices else about


def _sample(key: Key) -> Any:
    """Return a value of the right kind: the default where there is one, else one that will do."""
    default = key.parameter.get_default(click.Context(click.Command("sample")))
    if key.kind == "a list of texts":
        return [key.parameter.metavar or "TEXT"]
    if isinstance(default, bool | int | float | str):
        return default
    kind = key.parameter.type
    if key.kind == "true or false":
        return True
    if key.kind in ("a whole number", "a number"):
        least = getattr(kind, "min", None) or 0
        return least if key.kind == "a whole number" else max(float(least), 0.5)
    if isinstance(key.parameter, click.Option) and isinstance(key.parameter.flag_value, str):
        return key.parameter.flag_value
    return key.parameter.metavar or ("PATH" if isinstance(kind, click.Path) else "TEXT")


def _toml(value: Any) -> str:
    """Return a value as TOML writes it: JSON does the same for these kinds."""
    return json.dumps(value, ensure_ascii=False)
