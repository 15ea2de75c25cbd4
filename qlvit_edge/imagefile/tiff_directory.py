"""The tags of a TIFF structure (TIFF 6.0, BigTIFF), which Exif uses too."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile.limits import MAX_PARTS, REPLACE, require_parts

ORIENTATION = 0x0112

# Letters of `struct` for the types that hold whole numbers; ASCII (2) and UNDEFINED (7) are bytes.
_LETTERS = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q"}
_LETTERS |= {17: "q", 18: "Q"}


@dataclass(frozen=True)
class Directory:
    """One page's tags.

    Attributes:
        content: the whole file.
        order: ``"<"`` or ``">"``.
        big: whether the file is a BigTIFF.
        entries: tag → (type, count, offset of the entry's value field).
        following: offset of the next directory, 0 at the end.
    """

    content: bytes
    order: Literal["<", ">"]
    big: bool
    entries: dict[int, tuple[int, int, int]]
    following: int

    def values(self, tag: int) -> tuple[int, ...]:
        """Return the whole numbers of a tag; empty where it is missing or holds others.

        Raises:
            struct.error: they lie outside the file.
            DataError: there are more than `MAX_PARTS`.
        """
        kind, count, place = self.entries.get(tag, (0, 0, 0))
        if kind not in _LETTERS:
            return ()
        require_parts(count, "TIFF tag")
        letters = f"{self.order}{count}{_LETTERS[kind]}"
        if struct.calcsize(letters) > (8 if self.big else 4):
            (place,) = unpacked(self.order + "IQ"[self.big], self.content, place)
        return unpacked(letters, self.content, place)

    def value(self, tag: int, default: int) -> int:
        """Return a tag's first number, or ``default`` where it has none."""
        return (*self.values(tag)[:1], default)[0]

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a tag of single bytes; empty where it is missing."""
        kind = self.entries.get(tag, (0, 0, 0))[0]
        return bytes(self.values(tag)) if kind in (1, 2, 7) else b""


def unpacked(letters: str, content: bytes, offset: int) -> tuple[Any, ...]:
    """Return what lies at an offset, which a BigTIFF writes in 64 bits.

    Raises:
        struct.error: it is not within the file.
    """
    if offset > len(content):
        raise struct.error("an offset beyond the end")
    return struct.unpack_from(letters, content, offset)


def first_directory(content: bytes) -> Directory:
    """Read the header and the first directory.

    Raises:
        struct.error: the file ends before.
        KeyError: it does not begin like a TIFF.
    """
    order: Literal["<", ">"] = {b"II": "<", b"MM": ">"}[content[:2]]  # type: ignore[assignment]
    (version,) = struct.unpack_from(order + "H", content, 2)
    big = version == 43
    (offset,) = struct.unpack_from(order + "IQ"[big], content, 8 if big else 4)
    return _directory(content, order, big, offset)


def directories(content: bytes, name: str) -> list[Directory]:
    """Return all directories of the chain, the first page first.

    Raises:
        DataError: the chain runs in a circle or is longer than `MAX_PARTS`.
        struct.error: the file ends before.
    """
    found = [first_directory(content)]
    seen = {0}
    while found[-1].following:
        if found[-1].following in seen:
            raise DataError(name, "TIFF pages run in a circle", REPLACE)
        require_parts(len(found), name)
        seen.add(found[-1].following)
        last = found[-1]
        found.append(_directory(content, last.order, last.big, last.following))
    return found


def orientation_in(tiff: bytes) -> int:
    """Return the orientation in a TIFF structure, 1 where there is none or it is damaged."""
    try:
        value = first_directory(tiff).value(ORIENTATION, 1)
    except (struct.error, KeyError, DataError):
        return 1
    return value if 1 <= value <= 8 else 1


def _directory(content: bytes, order: Literal["<", ">"], big: bool, offset: int) -> Directory:
    (count,) = unpacked(order + "HQ"[big], content, offset)
    if count > MAX_PARTS:
        raise struct.error("more tags than a TIFF has")
    step, place = (20, offset + 8) if big else (12, offset + 2)
    entries: dict[int, tuple[int, int, int]] = {}
    for entry in range(place, place + step * count, step):
        tag, kind, number = struct.unpack_from(order + ("HHQ" if big else "HHI"), content, entry)
        entries.setdefault(tag, (kind, number, entry + (12 if big else 8)))
    end = place + step * count
    following = 0
    if end < len(content):  # Exif writers leave the last offset out
        (following,) = struct.unpack_from(order + "IQ"[big], content, end)
    return Directory(content, order, big, entries, following)
