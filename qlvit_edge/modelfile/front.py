"""A flatbuffer with another beginning: new tables that lead into the old ones.

In a flatbuffer every offset points forward, from the start of the file towards its end, and counts
from where it stands. So whatever is written before a file may point into it, and nothing inside
the file changes: its weights are not touched, nor need anybody know what all of its tables are.
Layout: the flatbuffers internals document (`https://flatbuffers.dev/internals/`).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ALIGNMENT = 64
"""What stands in the file keeps its place in a row of so many bytes; weights ask for 16."""


@dataclass(frozen=True)
class Old:
    """What stands in the old file already.

    Attributes:
        position: there.
    """

    position: int


@dataclass(frozen=True)
class Scalar:
    """A number in a table.

    Attributes:
        code: its `struct` format, at most four bytes wide.
        value: it.
    """

    code: str
    value: int


@dataclass(frozen=True)
class Text:
    """A string.

    Attributes:
        content: in UTF-8.
    """

    content: bytes


@dataclass(frozen=True)
class Numbers:
    """A vector of numbers.

    Attributes:
        code: `struct` format of each.
        values: they.
    """

    code: str
    values: Sequence[float]


@dataclass(frozen=True)
class Tables:
    """A vector of tables."""

    entries: Sequence[Old | New]


@dataclass(frozen=True)
class New:
    """A table.

    Attributes:
        fields: by number; absent ones are left out.
    """

    fields: Mapping[int, Field]


Target = Old | New | Text | Numbers | Tables
Field = Target | Scalar


def with_front(old: bytes, root: New) -> bytes:
    """Return a flatbuffer that begins with new tables and goes on with an old file.

    Args:
        old: the file, with its identifier.
        root: the new root table.
    """
    front = _Front(old[4:8])
    front.link(0, root)
    return front.finish(old)


class _Front:
    """Writes tables in the order in which they are pointed to, so that all offsets lead on."""

    def __init__(self, identifier: bytes) -> None:
        self._out = bytearray(4) + identifier
        self._waiting: deque[tuple[int, Target]] = deque()

    def link(self, place: int, target: Target) -> None:
        """Have the offset at `place` lead to a target, which is written later."""
        self._waiting.append((place, target))

    def finish(self, old: bytes) -> bytes:
        """Write everything that is waiting, and the old file after it."""
        into_old: list[tuple[int, int]] = []
        while self._waiting:
            place, target = self._waiting.popleft()
            if isinstance(target, Old):
                into_old.append((place, target.position))
            else:
                struct.pack_into("<I", self._out, place, self._write(target) - place)
        self._align(_ALIGNMENT)
        for place, position in into_old:
            struct.pack_into("<I", self._out, place, len(self._out) + position - place)
        return bytes(self._out) + old

    def _write(self, target: New | Text | Numbers | Tables) -> int:
        """Write a target and return its position."""
        match target:
            case New():
                return self._table(target.fields)
            case Text():
                position = self._vector(len(target.content), 1)
                self._out += target.content + b"\0"
            case Numbers():
                position = self._vector(len(target.values), struct.calcsize(f"<{target.code}"))
                self._out += struct.pack(f"<{len(target.values)}{target.code}", *target.values)
            case Tables():
                position = self._vector(len(target.entries), 4)
                for number, entry in enumerate(target.entries):
                    self.link(position + 4 + 4 * number, entry)
                self._out += bytes(4 * len(target.entries))
        return position

    def _vector(self, count: int, width: int) -> int:
        """Begin a vector, whose elements stand at a multiple of their width."""
        self._align(max(width, 4), ahead=4)
        self._out += struct.pack("<I", count)
        return len(self._out) - 4

    def _table(self, fields: Mapping[int, Field]) -> int:
        slots, size = [0] * (1 + max(fields, default=-1)), 4
        for slot, value in fields.items():
            width = struct.calcsize(f"<{value.code}") if isinstance(value, Scalar) else 4
            slots[slot] = size = -(-size // width) * width
            size += width
        size = -(-size // 4) * 4
        self._align(8, ahead=4 + 2 * len(slots))
        vtable = struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), size, *slots)
        position = len(self._out) + len(vtable)
        self._out += vtable + struct.pack("<i", len(vtable)) + bytes(size - 4)
        for slot, value in fields.items():
            if isinstance(value, Scalar):
                struct.pack_into(f"<{value.code}", self._out, position + slots[slot], value.value)
            else:
                self.link(position + slots[slot], value)
        return position

    def _align(self, width: int, *, ahead: int = 0) -> None:
        """Fill up so that what follows after `ahead` more bytes stands at a multiple of `width`."""
        self._out += bytes(-(len(self._out) + ahead) % width)
