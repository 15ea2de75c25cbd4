"""TOML files that a person writes: read within bounds, and their mistakes in words."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.reading import UnreadableFileError, read_regular
from qlvit_edge.text import did_you_mean, plain

MAX_TOML_BYTES = 16 * 1024 * 1024


def read_toml(path: Path, kind: type[QLViTEdgeError], remedy: str) -> dict[str, Any]:
    """Return what a TOML file says.

    Args:
        path: of the file.
        kind: of the error.
        remedy: against what is no TOML.

    Raises:
        QLViTEdgeError: of that kind: missing, no regular file, too large, or not TOML in UTF-8.
    """
    return parsed_toml(read_toml_bytes(path, kind), path, kind, remedy)


def read_toml_bytes(path: Path, kind: type[QLViTEdgeError]) -> bytes:
    """Return what a file holds that is to be TOML.

    Raises:
        QLViTEdgeError: of that kind: missing, no regular file or too large.
    """
    try:
        return read_regular(path, MAX_TOML_BYTES)
    except FileNotFoundError as error:
        raise kind(path, "cannot be read (no such file)", "name a TOML file") from error
    except UnreadableFileError as error:
        raise kind(path, str(error), "name a TOML file") from error


def parsed_toml(
    content: bytes, path: Path, kind: type[QLViTEdgeError], remedy: str
) -> dict[str, Any]:
    """Return what TOML says; see `read_toml`.

    Raises:
        QLViTEdgeError: of that kind: it is not TOML in UTF-8.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        raise kind(path, f"not valid TOML in UTF-8 ({error})", remedy) from error


def hyphenated(name: str) -> str:
    """Return a field's name as such files write it."""
    return name.replace("_", "-")


def first_mistake(
    error: ValidationError, fields_at: Callable[[tuple[str, ...]], Iterable[str]]
) -> str:
    """Say where the first mistake is, counting entries from 1, and what it is.

    A field that does not exist goes before others: the one missing is often that one, mistyped.

    Args:
        error: of pydantic.
        fields_at: the names of the fields that there are at a place.
    """
    mistakes = error.errors(include_url=False, include_input=False)
    first = next((one for one in mistakes if one["type"] == "extra_forbidden"), mistakes[0])
    parts = [str(part + 1) if isinstance(part, int) else str(part) for part in first["loc"]]
    where = plain(" ".join(parts))
    if first["type"] == "extra_forbidden":
        guess = did_you_mean(parts[-1], [hyphenated(name) for name in fields_at(tuple(parts[:-1]))])
        return f"{where}: there is no such field{guess}"
    if first["type"] == "missing":
        return f"{where}: is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {plain(message)}" if where else plain(message)
