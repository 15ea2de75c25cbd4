"""Hostile chains by the thousand: archives, descriptions and segments, forged or damaged."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile
from typing import Any

from chain_archives import small_chain
from mini_archive import packed_archive, unpacked_archive
from mutations import INTERESTING, Mutator

DESCRIPTION = "chain.json"
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**80, 10**200, 1e308, -0.5, "", "x",
    "\x1b[2J\x07", "\u202ebackwards", "a\nb", [], [[]], {}, ["x"] * 50, "../chain.json",
)  # fmt: skip
_TEXTS = (
    b"[" * 5000, b'{"a":' * 5000, b"1" * 5000, b'{"macs": NaN}', b'{"a": 1, "a": 2}',
    b'"\\ud800"', b"\xff\xfe", b"1e999", b"",
)  # fmt: skip


class ChainMutator:
    """Makes chains from a small one; the same number gives the same chains."""

    def __init__(self, seed: int) -> None:
        """Make the chain that others are made from."""
        self._random = random.Random(seed)
        self._models = Mutator(seed)
        self.good = small_chain()

    def next(self) -> bytes:
        """Return one more chain."""
        files = unpacked_archive(self.good)
        chance = self._random.random()
        if chance < 0.2:
            return self._bytes(self.good)
        if chance < 0.3:
            files[DESCRIPTION] = self._random.choice(_TEXTS)
        elif chance < 0.4:
            files[DESCRIPTION] = self._bytes(files[DESCRIPTION])
        else:
            description = json.loads(files[DESCRIPTION])
            if chance < 0.7:
                self._segment(description, files)
            for _ in range(self._random.choice((0, 1, 1, 3)) if chance < 0.7 else 1):
                self._forge(description)
            files[DESCRIPTION] = json.dumps(description).encode()
        if self._random.random() < 0.05:
            files.pop(self._random.choice(list(files)))
        if self._random.random() < 0.05:
            files[self._random.choice(("x", "../x", "\x1b[2J", "a" * 300))] = b"surplus"
        method = zipfile.ZIP_DEFLATED if self._random.random() < 0.02 else zipfile.ZIP_STORED
        return packed_archive(list(files.items()), method)

    def _bytes(self, content: bytes) -> bytes:
        data = bytearray(content)
        for _ in range(self._random.choice((1, 1, 4))):
            at = self._random.randrange(len(data))
            data[at] = self._random.choice((data[at] ^ 1 << self._random.randrange(8), 0, 255))
        if self._random.random() < 0.2:
            del data[self._random.randrange(len(data)) :]
        return bytes(data)

    def _segment(self, description: dict[str, Any], files: dict[str, bytes]) -> None:
        """Damage a segment's file, and give it its hash."""
        segment = self._random.choice(description["segments"])
        name = segment["file"]
        changed = self._random.random() < 0.3
        files[name] = self._models.next() if changed else self._bytes(files[name])
        segment["sha256"] = hashlib.sha256(files[name]).hexdigest()

    def _forge(self, description: dict[str, Any]) -> None:
        """Replace a value anywhere in a description."""
        place: Any = description
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = self._random.choice(keys)
            if not isinstance(place[key], dict | list) or self._random.random() < 0.2:
                break
            place = place[key]
        values = (*_VALUES, *INTERESTING)
        place[key] = self._random.choice(values)
