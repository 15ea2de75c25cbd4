"""Words for people: text of foreign files made harmless, plurals, and words meant otherwise."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

RESEARCH_ONLY = "For research use only, not for diagnosis."
"""Stands on everything that is written for people."""

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with everything escaped that a terminal would obey or hide.

    Control characters (C0, C1, DEL), line and paragraph separators, changes of writing
    direction and other invisible characters, and halves of surrogate pairs (file names that
    are no UTF-8) become ``\uXXXX``, line breaks and tabulators ``\n``, ``\r`` and ``\t``: as JSON
    writes them, so JSON that passes here stays JSON. Letters of all languages stay.

    Args:
        text: anything, from anyone.
        keep: characters to leave as they are, such as a line break.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 image", "2 images", "1,024 images".

    Args:
        count: how many.
        one: the noun for one of them.
        many: its plural, where that is not the noun with an "s".
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def folded(name: str) -> str:
    """Return a name without capitals, spaces, underscores and other marks."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in text if c.isalnum()) or text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``", did you mean 'nano'?"`` for a word close to one of ``choices``, else nothing."""
    import difflib

    by_case = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(str(word)[:100].casefold(), list(by_case), n=1, cutoff=0.6)
    return f", did you mean {plain(by_case[near[0]])!r}?" if near else ""


def is_whole_number(text: str) -> bool:
    """Tell whether a text is a whole number as people write it: ASCII digits, maybe a sign.

    `int` takes more, such as ``"6_0"`` and the digits of every script: what was mistyped or pasted
    would be taken for a number that nobody meant.
    """
    return _WHOLE.fullmatch(text) is not None


def number_of(text: str) -> float:
    """Return the number that a text is, in ASCII digits: ``"0.8"``, ``".5"``, ``"2e-3"``.

    Raises:
        ValueError: it is none, see `is_whole_number`; so are NaN and infinity.
    """
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a number")
    return float(text)
