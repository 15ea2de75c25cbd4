"""A small flatbuffer walker that trusts nothing it reads.

Every offset, length and vtable is checked against the file before it is followed, and the
bytes visited are counted against a budget: a file cannot make the walker read outside
itself, run in circles, or unfold a few shared bytes into gigabytes. Layout: the flatbuffers
internals document (`https://flatbuffers.dev/internals/`).
"""

from __future__ import annotations

import struct
from typing import Any

# Names, shapes, scales and operator lists together; weights are not visited. The paper-size
# network spends 1.5 MB. What the budget buys stays below 100 MB as Python objects.
STRUCTURE_BUDGET = 4 * 1024 * 1024
TABLE_COST = 64


class MalformedError(ValueError):
    """What is wrong with the bytes, in words; the reader turns it into a `ModelFileError`."""


class Walker:
    """Checked little-endian reads from one flatbuffer.

    Attributes:
        data: bytes of the whole file.
        warnings: what is odd in it, and loaded by runtimes all the same.
        misfits: what some runtimes load and others refuse.
    """

    def __init__(self, data: memoryview, budget: int = STRUCTURE_BUDGET) -> None:
        """Walk over `data` (bytes of the whole file), visiting at most `budget` bytes."""
        self.data = data
        self.warnings: list[str] = []
        self.misfits: list[str] = []
        self._left = budget

    def spend(self, count: int) -> None:
        """Count `count` visited bytes against the budget."""
        self._left -= count
        if self._left < 0:
            raise MalformedError("its structure unfolds to more than the size limit")

    def check(self, position: int, count: int, what: str) -> None:
        """Raise `MalformedError` unless `count` bytes lie at `position`."""
        if position < 0 or count < 0 or position + count > len(self.data):
            raise MalformedError(f"{what} points outside the file")

    def number(self, position: int, code: str, what: str) -> int:
        """Read one integer with the `struct` format `code` at `position`."""
        layout = struct.Struct("<" + code)
        self.check(position, layout.size, what)
        value: int = layout.unpack_from(self.data, position)[0]
        return value

    def follow(self, position: int, what: str) -> int:
        """Return the position that the unsigned offset at `position` points to."""
        offset = self.number(position, "I", what)
        target = position + offset
        if offset == 0 or target % 4:
            raise MalformedError(f"{what} has a broken offset")
        self.check(target, 4, what)
        return target

    def table(self, position: int, what: str) -> Table:
        """Check the table at `position` with its vtable and return it."""
        return Table(self, position, what)

    def vector(self, position: int, width: int, what: str) -> tuple[int, int]:
        """Return start and length of the vector of `width`-byte elements at `position`."""
        count = self.number(position, "I", what)
        start = position + 4
        self.check(start, count * width, what)
        return start, count


class Table:
    """One checked table: fields are found by number.

    Attributes:
        walker: over the file that it is in.
        what: it is called in findings.
        position: in the file.
        slots: how many fields it could have; those from there on are absent.
    """

    def __init__(self, walker: Walker, position: int, what: str) -> None:
        """Check that vtable and fields of the table at `position` lie inside the file."""
        walker.spend(TABLE_COST)
        self.walker = walker
        self.what = what
        self.position = position
        vtable = position - walker.number(position, "i", what)
        size = walker.number(vtable, "H", what)
        self._extent = walker.number(vtable + 2, "H", what)
        if size < 4 or size % 2 or self._extent < 4:
            raise MalformedError(f"{what} has a broken field list")
        walker.check(vtable, size, what)
        walker.check(position, self._extent, what)
        self._vtable = vtable
        self.slots = (size - 4) // 2

    def _field(self, slot: int, width: int) -> int | None:
        if slot >= self.slots:
            return None
        offset = self.walker.number(self._vtable + 4 + 2 * slot, "H", self.what)
        if offset == 0:
            return None
        if offset < 4 or offset + width > self._extent:
            raise MalformedError(f"{self.what} has a field outside itself")
        return self.position + offset

    def has(self, slot: int) -> bool:
        """Tell whether the field is present."""
        return self._field(slot, 1) is not None

    def target(self, slot: int) -> int | None:
        """Return the position that the offset in field `slot` leads to; None where it is absent."""
        position = self._field(slot, 4)
        return None if position is None else self.walker.follow(position, self.what)

    def number(self, slot: int, code: str, default: int = 0) -> int:
        """Return the integer field `slot` of `struct` format `code`, or its default."""
        position = self._field(slot, struct.calcsize("<" + code))
        return default if position is None else self.walker.number(position, code, self.what)

    def child(self, slot: int, what: str) -> Table | None:
        """Return the table that field `slot` points to, if present."""
        position = self._field(slot, 4)
        if position is None:
            return None
        return self.walker.table(self.walker.follow(position, what), what)

    def children(self, slot: int, what: str, limit: int) -> list[Table]:
        """Return the tables of the vector in field `slot`, at most `limit`."""
        position = self._field(slot, 4)
        if position is None:
            return []
        start, count = self.walker.vector(self.walker.follow(position, what), 4, what)
        if count > limit:
            raise MalformedError(f"it declares {count} of {what}, more than {limit}")
        self.walker.spend(4 * count)
        return [
            self.walker.table(self.walker.follow(start + 4 * index, what), f"{what} {index}")
            for index in range(count)
        ]

    def numbers(self, slot: int, code: str, what: str) -> tuple[float, ...]:
        """Return the vector of numbers in field `slot` (empty when absent)."""
        position = self._field(slot, 4)
        if position is None:
            return ()
        width = struct.calcsize("<" + code)
        start, count = self.walker.vector(self.walker.follow(position, what), width, what)
        self.walker.spend(count * width)
        return struct.unpack_from(f"<{count}{code}", self.walker.data, start)

    def integers(self, slot: int, code: str, what: str) -> tuple[int, ...]:
        """Return the vector of integers in field `slot` (empty when absent)."""
        found: tuple[Any, ...] = self.numbers(slot, code, what)
        return found

    def text(self, slot: int, what: str) -> str:
        """Return the string in field `slot` (empty when absent); broken UTF-8 is replaced."""
        return bytes(self.span(slot, what, spend=True)).decode("utf-8", errors="replace")

    def span(self, slot: int, what: str, *, spend: bool = False) -> memoryview:
        """Return the bytes of the vector in field `slot` without copying them."""
        position = self._field(slot, 4)
        if position is None:
            return self.walker.data[0:0]
        start, count = self.walker.vector(self.walker.follow(position, what), 1, what)
        if spend:
            self.walker.spend(count)
        return self.walker.data[start : start + count]
