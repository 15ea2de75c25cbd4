"""A user's own size of the network, in a TOML file.

::

    like = "nano"                # optional: what is not said here is as in that size
    input-size = [96, 128]       # height, width
    widths = [16, 32, 64, 128]
    depths = [1, 1, 2, 1]

Fields are those of :class:`~qlvit_edge.model.configs.NetworkConfig`, with hyphens, but for
`classes`, which the data decide. The file's name is the size's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import BaseModel, ValidationError

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.text import did_you_mean, plain
from qlvit_edge.tomlfile import first_mistake, hyphenated, read_toml

Fields = dict[str, Any]

_NOT_OF_A_SIZE = {"size", "classes", "activation_bits"}
_REMEDY = "correct it; docs/variants.md explains the fields"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def is_size_file(size: str) -> bool:
    """Whether what stands for a size names a file."""
    return size.casefold().endswith(".toml")


class Size(Protocol):
    """The configuration of a named size."""

    def own_fields(self) -> Fields:
        """Return its fields without those that its variant decides."""


def read_size(path: Path, sizes: Mapping[str, Size], shape: type[BaseModel]) -> tuple[str, Fields]:
    """Return the name of a user's size and its fields.

    Args:
        path: of the TOML file.
        sizes: those that a file can be like.
        shape: validates the fields.

    Raises:
        QLViTEdgeError: the file cannot be read, or says what makes no network.
    """
    said = read_toml(path, QLViTEdgeError, _REMEDY)
    name = path.stem
    if name in sizes:
        raise QLViTEdgeError(path, f"{name} is a size of the family already", "rename the file")
    if not _NAME.fullmatch(name):
        finding = "its name cannot be a size's: letters, digits, '.', '_' and '-', at most 40"
        raise QLViTEdgeError(path, finding, "rename the file")
    like = said.pop("like", None)
    if like is not None and (not isinstance(like, str) or like not in sizes):
        finding = f"like: {plain(str(like)[:60])!r} is not a network size"
        remedy = f"choose one of {', '.join(sizes)}{did_you_mean(str(like), sizes)}"
        raise QLViTEdgeError(path, finding, remedy)
    known = [name for name in shape.model_fields if name not in _NOT_OF_A_SIZE]
    fields = _fields(path, said, known)
    if like is not None:
        fields = {**sizes[like].own_fields(), **fields}
    fields["size"] = name
    try:
        shape.model_validate(fields, strict=True)
    except ValidationError as error:
        finding = first_mistake(error, lambda _: known).replace("_", "-")
        raise QLViTEdgeError(path, finding, _REMEDY) from error
    return name, fields


def _fields(path: Path, said: Fields, known: Collection[str]) -> Fields:
    """Return what a file says by the names of the configuration's fields."""
    written = {hyphenated(name): name for name in known}
    for key in said:
        if key not in written:
            guess = did_you_mean(key, ["like", *written])
            finding = f"{plain(key[:60])}: there is no such field{guess}"
            raise QLViTEdgeError(path, finding, _REMEDY)
    return {
        written[key]: tuple(value) if isinstance(value, list) else value
        for key, value in said.items()
    }
