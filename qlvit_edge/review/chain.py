"""A chain of texts: each hash covers its text and the hash before it.

It finds what was altered by accident or by hand. Who can write the file and knows this program
can also compute a new chain: note a signature's hash elsewhere where that matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

BEGINNING = hashlib.sha256(b"qlvit-edge review").hexdigest()
"""Stands before the first text of every chain."""


def canonical(content: Any) -> str:
    """Return content as the one JSON text that it has: sorted keys, no spaces, ASCII.

    Bytes, which only a damaged row holds, are told from texts.
    """
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_of_bytes
    )


def digest(content: Any) -> str:
    """Return the SHA-256 of content's canonical JSON as hexadecimal digits."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def digest_of_rows(rows: Iterable[Any]) -> str:
    """Return the SHA-256 of many contents, one per line, without holding them all."""
    found = hashlib.sha256()
    for row in rows:
        found.update(canonical(row).encode() + b"\n")
    return found.hexdigest()


def link(previous: str, text: str) -> str:
    """Return the hash of a text that follows a hash."""
    return hashlib.sha256(f"{previous}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _of_bytes(content: object) -> object:
    if isinstance(content, bytes):
        return {"bytes": content.hex()}
    raise TypeError(f"{type(content).__name__} is not stored")
