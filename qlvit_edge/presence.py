"""Values that must be there: said by name where they are not.

An `assert` would be left out by `python -O`; what follows it would then run on nothing.
"""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None, what: str) -> Value:
    """Return a value that the code around it has made sure of.

    Args:
        value: anything; None stands for nothing.
        what: its name in words, for the error.

    Raises:
        RuntimeError: it is None, which is a mistake of this package and not of its user.
    """
    if value is None:
        raise RuntimeError(f"{what} is missing, which is an error in qlvit-edge")
    return value
