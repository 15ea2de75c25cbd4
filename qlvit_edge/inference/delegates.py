"""A library that takes over operators, such as the one of an Edge TPU, and what it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qlvit_edge.coral import library_named


@dataclass(frozen=True)
class Delegate:
    """A delegate's library and its options.

    Attributes:
        library: name or path, as the system's loader takes it.
        options: what it is told, by name; ``("device", "usb:1")`` chooses the second stick.
    """

    library: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.options:
            return self.library
        return f"{self.library} ({', '.join(f'{name}={value}' for name, value in self.options)})"


def delegate_of(library: str, options: Iterable[str] = ()) -> Delegate:
    """Return the delegate that a user names.

    Args:
        library: name or path of its library; ``"edgetpu"`` finds that of the Edge TPU.
        options: ``NAME=VALUE`` each.

    Raises:
        ValueError: an option is no ``NAME=VALUE``, or names something twice.
    """
    named: dict[str, str] = {}
    for option in options:
        name, sign, value = option.partition("=")
        if not (name.strip() and sign) or "\0" in option:
            raise ValueError(f"{option!r} is not NAME=VALUE, such as device=usb:1")
        if name.strip() in named:
            raise ValueError(f"{name.strip()} is given twice")
        named[name.strip()] = value.strip()
    return Delegate(library_named(library), tuple(named.items()))
