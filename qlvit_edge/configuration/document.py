"""A configuration file, read and checked key by key with the command's own checks."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from qlvit_edge.configuration.keys import Key, keys_of
from qlvit_edge.credentials import masked
from qlvit_edge.errors import ConfigurationError, QLViTEdgeError
from qlvit_edge.text import did_you_mean, plain
from qlvit_edge.tomlfile import parsed_toml, read_toml_bytes

REMEDY = "`qlvit-edge config example` prints a file with every key"


@dataclass(frozen=True)
class Document:
    """A file whose every value the command would take.

    Attributes:
        path: of the file.
        content: as it was read.
        values: by the names that the command's parameters have.
    """

    path: Path
    content: bytes
    values: dict[str, Any]


def read_document(path: Path, command: click.Command) -> Document:
    """Read a file, and check it against a command.

    Args:
        path: of the file.
        command: whose arguments and options it may set; see `qlvit_edge.configuration.keys`.

    Raises:
        ConfigurationError: it cannot be read, is no TOML, has an unknown key or a value that the
            command would not take, or everybody may read a password in it.
    """
    content = read_toml_bytes(path, ConfigurationError)
    stated = parsed_toml(content, path, ConfigurationError, REMEDY)
    keys = keys_of(command)
    for name in stated:
        if name not in keys:
            raise ConfigurationError(path, _unknown(name, keys), REMEDY)
    _require_guarded(path, stated)
    values = {}
    # Closing undoes what callbacks of options have set.
    with click.Context(command, info_name=command.name) as context:
        for name, value in stated.items():
            values[keys[name].field] = _checked(path, keys[name], value, context)
    return Document(path, content, values)


def _unknown(name: str, keys: Mapping[str, Key]) -> str:
    written = name.removeprefix("--").replace("_", "-")
    meant = f", did you mean {written!r}?" if written in keys else did_you_mean(name, keys)
    return f"there is no key {plain(name)!r}{meant}"


def _checked(path: Path, key: Key, value: Any, context: click.Context) -> Any:
    """Return a value as the command line takes it, once the option's own checks have passed."""
    try:
        stated = key.stated(value)
        key.parameter.process_value(context, stated)
    except click.ClickException as error:
        message = error.message.rstrip(".")
        raise ConfigurationError(path, f"{key.name}: {plain(message)}", REMEDY) from None
    except QLViTEdgeError as error:
        finding, _, remedy = str(error).partition("; ")
        finding = finding.removeprefix(f"--{key.name}: ")
        raise ConfigurationError(path, f"{key.name}: {finding}", remedy or REMEDY) from None
    except ValueError as error:
        raise ConfigurationError(path, f"{key.name}: {error}", REMEDY) from None
    return stated


def _require_guarded(path: Path, stated: Mapping[str, Any]) -> None:
    """Refuse a file that everybody may change, and one with secrets that everybody may read.

    Raises:
        ConfigurationError: it is one of these.
    """
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & stat.S_IWOTH:
        finding = "every user of this machine may change it"
        raise ConfigurationError(path, finding, f"chmod o-w {path}")
    for name, value in stated.items():
        texts = value if isinstance(value, list) else [value]
        secret = any(isinstance(one, str) and masked(one) != one for one in texts)
        if secret and mode & stat.S_IROTH:
            finding = f"{name}: holds a password or token, and every user may read the file"
            raise ConfigurationError(path, finding, f"chmod o-r {path}")
