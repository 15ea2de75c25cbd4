"""What people type: their names, samples, classes and reasons."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from qlvit_edge.errors import DataError
from qlvit_edge.text import did_you_mean, folded, plain

LONGEST = 200
"""Letters of a name."""

_SUMS = frozenset({"total", "counted", "all", "excluded", "notcounted"})
"""What sums and cells beside them are called in tables and messages, without spaces and marks."""


def composed(text: str) -> str:
    """Return a text with each letter and its accents as one sign, as most keyboards type it (NFC).

    The same name typed elsewhere, or taken from a file's name on macOS, is otherwise another one.
    """
    return unicodedata.normalize("NFC", text)


def required(text: str | None, what: str) -> str:
    """Return a name or reason without blanks at its ends, `composed`.

    Args:
        text: as typed.
        what: the option that it belongs to, such as ``"--by"``.

    Raises:
        DataError: it is empty, too long, or holds what cannot be printed.
    """
    found = composed((text or "").strip())
    if not found:
        raise DataError(what, "is empty", "give it a text")
    if not found.isprintable():
        raise DataError(what, f"{found[:60]!a} cannot be printed", "use letters and figures")
    if len(found) > LONGEST:
        raise DataError(what, f"has {len(found)} letters", f"use {LONGEST} at most")
    return found


def is_sample(stored: str | None, typed: str) -> bool:
    """Tell whether a stored sample is the one that was typed, which may not be `composed`."""
    return stored is not None and composed(stored) == composed(typed)


def class_named(text: str | None, classes: Sequence[str], *, new: bool = False) -> str:
    """Return the class that is meant: case, blanks and underscores do not matter.

    Args:
        text: as typed.
        classes: those that are known.
        new: whether it may be one that is not.

    Raises:
        DataError: it is none of these; or a new one is called as sums are.
    """
    found = required(text, "--class")
    if found in classes:
        return found
    alike = [name for name in classes if folded(name) == folded(found)]
    if len(alike) == 1:
        return alike[0]
    if new:
        if folded(found) in _SUMS or folded(found).startswith("notcounted"):
            finding = f"{plain(found)!r} is what a sum is called in tables and messages"
            raise DataError("--class", finding, "choose another name for the class")
        return found
    known = ", ".join(plain(name) for name in classes)
    finding = f"{plain(found)!r} is no class of this run{did_you_mean(found, classes)}"
    raise DataError("--class", finding, f"name one of {known}, or add --new-class")
