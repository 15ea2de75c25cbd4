"""A run as an HL7 message: ORU^R01 of version 2.5.1, unsolicited transmission of an observation.

A signed run is final (F), or corrects what has left as final before (C); all others are
preliminary (P). What is counted is the differential as it stands (`standing`).
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qlvit_edge.differential.differential import ClassShare
from qlvit_edge.exchange.hl7 import components, escaped, segment, time_stamp
from qlvit_edge.exchange.standing import Standing, scale_in_words, standing_of
from qlvit_edge.review.chain import canonical
from qlvit_edge.review.store import ReviewedRun
from qlvit_edge.text import RESEARCH_ONLY

VERSION: Final = "2.5.1"

_SYSTEM: Final = "99QLVE"
"""Our own codes: table 0396 leaves names with 99 to everybody."""

_CELLS: Final = components("{cells}", "cells", "UCUM")
_PERCENT: Final = components("%", "percent", "UCUM")


@dataclass(frozen=True)
class Message:
    """A message as it is sent.

    Attributes:
        control_id: MSH-10: the same whenever the same result of the same run is told.
        result: hash of the record that makes the result what it is; "" without records.
        text: segments, each with a carriage return at its end.
    """

    control_id: str
    result: str
    text: str


def message_of(seen: ReviewedRun, sent: float | None = None) -> Message:
    """Return a run as a message.

    Args:
        seen: the run.
        sent: when it is written, seconds since 1970; None: now.
    """
    result = result_of(seen)
    run = seen.run
    control_id = _short(["message", run.run, run.started, run.model_sha256, result], 20)
    header = segment(
        "MSH",
        {
            3: "QLVIT-EDGE",
            7: time_stamp(time.time() if sent is None else sent),
            9: components("ORU", "R01", "ORU_R01"),
            10: control_id,
            11: "P",
            12: VERSION,
            18: "UNICODE UTF-8",
        },
    )
    return Message(control_id, result, header + "".join(_body(seen, standing_of(seen))))


def result_of(seen: ReviewedRun) -> str:
    """Return the hash of the record that makes a run's result what it is: its last signature.

    Of an unsigned run that is the last record: its cells do not change, and what people say of
    them changes with a record only. "" where there is none.
    """
    if seen.signature is not None:
        return seen.signature.hash
    return seen.head or ""


def result_status(seen: ReviewedRun) -> str:
    """Return P, F or C as OBR-25 and OBX-11 have it (tables 0123 and 0085)."""
    if seen.signature is None:
        return "P"
    return "C" if seen.signature.corrects else "F"


def _short(content: list[object], letters: int) -> str:
    """Capitals and figures that stand for a content, five bits each."""
    found = hashlib.sha256(canonical(content).encode()).digest()
    return base64.b32encode(found).decode()[:letters]


def _body(seen: ReviewedRun, standing: Standing) -> Iterator[str]:
    run, signature = seen.run, seen.signature
    ended = run.started if run.ended is None else run.ended
    changed = ended if signature is None else datetime.fromisoformat(signature.at).timestamp()
    number = _short(["run", run.run, run.started, run.model_sha256], 16)
    yield segment(
        "OBR",
        {
            1: "1",
            2: escaped(run.sample or ""),
            3: components(number, "QLVIT-EDGE"),
            4: components("CELLDIFF", "Differential of classified cells", _SYSTEM),
            7: time_stamp(run.started),
            8: time_stamp(ended),
            22: time_stamp(changed),
            25: result_status(seen),
        },
    )
    for index, text in enumerate(_notes(seen, standing), start=1):
        yield segment("NTE", {1: str(index), 2: "L", 3: escaped(text)})
    shared = {11: result_status(seen), 14: time_stamp(ended)}
    if signature is not None:
        shared[16] = "~".join(components("", name) for name in seen.status.signed_by)
    for index, fields in enumerate(_observations(standing), start=1):
        yield segment("OBX", {1: str(index), **fields, **shared})
    specimen = {1: "1", 2: escaped(run.sample or ""), 4: components("", "microscope slide")}
    yield segment("SPM", specimen)


def _notes(seen: ReviewedRun, standing: Standing) -> Iterator[str]:
    run = seen.run
    yield RESEARCH_ONLY
    yield seen.status.statement()
    yield standing.statement()
    if standing.doubtful:
        yield f"Of these cells {standing.doubtful} may have been counted before"
    yield f"Run {run.run}: {run.outcome}" + (f"; operator {run.operator}" if run.operator else "")
    yield f"Model {run.model}, SHA-256 {run.model_sha256}"
    yield f"Runtime {run.runtime}, kernels {run.kernels}, {run.program}"
    yield scale_in_words(seen)
    if run.statement:
        yield run.statement
    if seen.signature is not None:
        yield f"Record {seen.signature.number} of the review: SHA-256 {seen.signature.hash}"


def _observations(standing: Standing) -> Iterator[dict[int, str]]:
    """Fields of an OBX each: what is counted, per class count, share and interval, and the rest."""
    found = standing.differential
    yield _number("total#", "cells counted", found.cells, "")
    for group, one in enumerate(found.classes, start=1):
        yield from _of_class(one, str(group))
    for label, number in found.apart.items():
        yield _number(f"{label}#", f"{label}, count beside the differential", number, "")
    beside = {**found.beside, "excluded by people": standing.excluded}
    for reason, number in beside.items():
        if number:
            yield _number(f"not counted: {reason}#", f"not counted, {reason}", number, "")


def _of_class(one: ClassShare, group: str) -> Iterator[dict[int, str]]:
    yield _number(f"{one.label}#", f"{one.label}, count", one.count, group)
    if one.share is None:
        return
    yield {
        2: "NM",
        3: components(f"{one.label}%", f"{one.label}, share", _SYSTEM),
        4: group,
        5: f"{100 * one.share:.2f}",
        6: _PERCENT,
    }
    low, high = (f"{100 * limit:.2f}" for limit in one.limits)
    yield {
        2: "SN",
        3: components(f"{one.label}%CI", f"{one.label}, 95 % interval of the share", _SYSTEM),
        4: group,
        5: components("", low, "-", high),
        6: _PERCENT,
    }


def _number(code: str, name: str, number: int, group: str) -> dict[int, str]:
    return {2: "NM", 3: components(code, name, _SYSTEM), 4: group, 5: str(number), 6: _CELLS}
