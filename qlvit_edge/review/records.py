"""One step of a review, as it is stored for good."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from qlvit_edge.review.chain import canonical

_Decision = Literal["confirm", "change", "exclude", "blind"]
Kind = _Decision | Literal["draw", "undo", "done", "sign", "reopen", "export", "delete"]
"""What a step does.

- confirm: the cells are of the class that the model gave;
- change: they are of another one;
- exclude: they are not counted;
- blind: a drawn cell is of a class, or none, said by who did not see the model's answer;
- draw: cells were drawn at random to be classed so;
- undo: one of the first four does not hold any more;
- done: a reader has looked at every cell;
- sign: a reader answers for the result;
- reopen: a signed result is taken back;
- export: a signed result has left the file;
- delete: runs were deleted; of the file, not of a run.
"""

DECISIONS: Final = ("confirm", "change", "exclude", "blind")
KINDS: Final = (*DECISIONS, "draw", "undo", "done", "sign", "reopen", "export", "delete")


@dataclass(frozen=True)
class ReviewRecord:
    """One step.

    Attributes:
        run: number of the run; 0: the file.
        number: from 1, without gaps.
        at: when, UTC, ISO 8601.
        by: who, as typed.
        kind: see `Kind`.
        program: the program and its version.
        facts: SHA-256 of what is stored of the cells it speaks of, or of the whole run.
        cells: numbers of the cells it decides on, or that were drawn.
        label: their class after a change; of a blind answer, None for one that is not counted.
        reason: why.
        undoes: number of the record that does not hold any more.
        readers: signatures that are needed.
        counts: cells by class that are signed, or that left the file.
        to: what an export was written to.
        runs: numbers of deleted runs.
        seed: what cells were drawn with.
    """

    run: int
    number: int
    at: str
    by: str
    kind: Kind
    program: str
    facts: str
    cells: tuple[int, ...] = ()
    label: str | None = None
    reason: str | None = None
    undoes: int | None = None
    readers: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    to: str | None = None
    runs: tuple[int, ...] = ()
    seed: str | None = None

    def text(self) -> str:
        """Return it as canonical JSON; without a field that came later, where that says nothing."""
        said = asdict(self)
        return canonical({name: said[name] for name in said if name not in _LATER or said[name]})


_NAMES = {one.name for one in fields(ReviewRecord)}
_LATER = {"seed"}
_OPTIONAL = {"label": str, "reason": str, "undoes": int, "readers": int, "to": str, "seed": str}


def read_record(text: str) -> ReviewRecord:
    """Return the record that a text holds.

    Raises:
        ValueError: it holds none, or was not written by `ReviewRecord.text`.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None
    if not isinstance(content, dict) or set(content) | _LATER != _NAMES:
        raise ValueError("lacks fields of a record")
    if not _has_types(content) or content["kind"] not in KINDS:
        raise ValueError("has fields of other types")
    record = ReviewRecord(
        **{**content, "cells": tuple(content["cells"]), "runs": tuple(content["runs"])}
    )
    if record.text() != text:
        raise ValueError("is written in another way")
    return record


def _has_types(content: dict[str, Any]) -> bool:
    numbers = [content["run"], content["number"]]
    texts = [content[name] for name in ("at", "by", "kind", "program", "facts")]
    if not isinstance(content["counts"], dict):
        return False
    for name in ("cells", "runs"):
        if not isinstance(content[name], list):
            return False
        numbers += content[name]
    numbers += content["counts"].values()
    return (
        all(type(number) is int for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and all(
            content.get(name) is None or type(content[name]) is kind
            for name, kind in _OPTIONAL.items()
        )
    )


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def kind_named(word: str) -> Kind:
    """Return a word as a kind.

    Raises:
        ValueError: there is none of that name.
    """
    if word not in KINDS:
        raise ValueError(f"no kind of record {word!r}")
    return cast(Kind, word)
