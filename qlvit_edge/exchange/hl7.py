r"""HL7 v2 as text: separators ``|^~\&``, what stands for them in texts, segments, times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from qlvit_edge.text import plain

SEPARATORS: Final = "^~\\&"
"""Between components, repetitions, the mark of an escape, and between subcomponents (MSH-2)."""

_ESCAPES: Final = str.maketrans(
    {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
)


def escaped(text: str) -> str:
    r"""Return a text as it stands in a message.

    Separators become HL7's escape sequences (``|`` is ``\F\``; version 2.5.1, section 2.7). What
    cannot be printed, such as a line break, which would end the segment, is written out before
    (`qlvit_edge.text.plain`), so that the text is UTF-8 and of one line.
    """
    return plain(text).translate(_ESCAPES)


def components(*texts: str) -> str:
    """Return a field of several components; empty ones at its end are left out."""
    return "^".join(map(escaped, texts)).rstrip("^")


def segment(name: str, fields: Mapping[int, str]) -> str:
    """Return a segment, with the carriage return that ends it.

    Args:
        name: such as ``"OBX"``.
        fields: what stands in them, escaped, by their numbers from 1; of ``"MSH"`` from 3.
    """
    first = 1
    begin = f"{name}|"
    if name == "MSH":
        first, begin = 3, f"MSH|{SEPARATORS}|"
    last = max(fields, default=first)
    return begin + "|".join(fields.get(number, "") for number in range(first, last + 1)) + "\r"


def time_stamp(seconds: float) -> str:
    """Return a time since 1970 as HL7's TS in UTC; of one that no calendar has nothing."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S+0000")
    except (ValueError, OverflowError, OSError):
        return ""
