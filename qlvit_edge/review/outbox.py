"""Messages on their way to another system: kept in the results file until they are answered.

A row is written before anything is sent, and its message never changes: what is sent again is the
same to the byte, under the same control ID, by which a receiver knows it again.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from qlvit_edge.review.chain import digest
from qlvit_edge.review.records import ReviewRecord, now

Delivery = Literal["waiting", "unanswered", "refused", "delivered", "withdrawn"]
"""How far a message is.

- waiting: nothing of it was sent;
- unanswered: it was sent at least in part, and may have arrived or not;
- refused: the receiver did not take it;
- delivered: the receiver has acknowledged it;
- withdrawn: it was not delivered, and the result is another one now; it is not sent any more.
"""

OPEN: Final = ("waiting", "unanswered", "refused")
"""What is sent again."""

_DELIVERIES: Final = (*OPEN, "delivered", "withdrawn")

_SENT_TO = re.compile(r"(mllps?://\S+) as ([A-Z0-9]{20})")


@dataclass(frozen=True)
class OutboxMessage:
    """A message for one receiver.

    Attributes:
        id: its number in the file; 0 before it is there.
        run: number of the run that it tells of.
        control_id: by which the receiver knows it again (MSH-10).
        destination: ``mllp://HOST:PORT``, or ``mllps://`` with TLS.
        created: when, UTC, ISO 8601.
        by: who sends it, as typed.
        result: hash of the record of the review that it tells of; "" where there was none.
        message: the text.
        state: see `Delivery`.
        attempts: how often it was sent.
        changed: when its state changed last.
        answer: what was said or happened last; "" before.
    """

    id: int
    run: int
    control_id: str
    destination: str
    created: str
    by: str
    result: str
    message: str
    state: Delivery
    attempts: int
    changed: str
    answer: str

    def hash(self) -> str:
        """Return the SHA-256 of all of it but its number in the file."""
        return digest({name: value for name, value in asdict(self).items() if name != "id"})


class AlteredOutboxError(ValueError):
    """A message that is not as it was written; the text says which."""


_COLUMNS: Final = (
    *("id", "run_id", "control_id", "destination", "created", "by_name", "result", "message"),
    *("state", "attempts", "changed", "answer"),
)
_WHOLE: Final = ("id", "run", "attempts")


def has_outbox(connection: sqlite3.Connection) -> bool:
    """Tell whether a file is of a format that has an outbox."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone()
    return found is not None


def messages_of(
    connection: sqlite3.Connection, destination: str | None = None
) -> list[OutboxMessage]:
    """Return the messages for a destination, or all, in the order in which they were written.

    Raises:
        AlteredOutboxError: one is not as it was written.
    """
    if not has_outbox(connection):
        return []
    rows = connection.execute(
        f"SELECT hash, {', '.join(_COLUMNS)} FROM outbox "  # noqa: S608 - names of ours, values bound
        "WHERE destination = coalesce(?, destination) ORDER BY id",
        (destination,),
    )
    return [_checked(stored, row) for stored, *row in rows.fetchall()]


def _checked(stored: object, row: list[Any]) -> OutboxMessage:
    found = OutboxMessage(*row)
    typed = all(
        isinstance(value, int if name in _WHOLE else str) for name, value in asdict(found).items()
    )
    if not typed or found.state not in _DELIVERIES or found.hash() != stored:
        raise AlteredOutboxError(f"message {row[0]!a} of the outbox was altered")
    return found


def put(
    connection: sqlite3.Connection,
    run: int,
    destination: str,
    by: str,
    *,
    control_id: str,
    result: str,
    message: str,
) -> None:
    """Add a message in the caller's transaction; its destination must not have that ID yet."""
    written = now()
    new = OutboxMessage(
        0, run, control_id, destination, written, by, result, message, "waiting", 0, written, ""
    )
    values = (new.hash(), *[value for name, value in asdict(new).items() if name != "id"])
    connection.execute(
        f"INSERT INTO outbox (hash, {', '.join(_COLUMNS[1:])}) "  # noqa: S608 - names of ours, values bound
        f"VALUES ({', '.join('?' * len(_COLUMNS))})",
        values,
    )


def withdraw(connection: sqlite3.Connection, message: OutboxMessage) -> OutboxMessage:
    """Note that a message is not sent any more, and whether it may have arrived."""
    answer = "its run has changed since"
    if message.state == "unanswered":
        answer += "; it may have arrived"
    return note(connection, message, "withdrawn", answer)


def note(
    connection: sqlite3.Connection,
    message: OutboxMessage,
    state: Delivery,
    answer: str,
    *,
    attempts: int | None = None,
) -> OutboxMessage:
    """Note how far a message is, in the caller's transaction; return it so."""
    new = replace(
        message,
        state=state,
        answer=answer,
        changed=now(),
        attempts=message.attempts if attempts is None else attempts,
    )
    connection.execute(
        "UPDATE outbox SET state = ?, answer = ?, changed = ?, attempts = ?, hash = ? WHERE id = ?",
        (new.state, new.answer, new.changed, new.attempts, new.hash(), new.id),
    )
    return new


def sent_to(destination: str, control_id: str) -> str:
    """Return what the record of a review says of a signed result that is sent."""
    return f"{destination} as {control_id}"


def missing_messages(connection: sqlite3.Connection, records: list[ReviewRecord]) -> list[str]:
    """Return which messages are not in the outbox though a review says that they were sent."""
    found = []
    for record in records:
        said = _SENT_TO.fullmatch(record.to or "")
        if record.kind != "export" or said is None:
            continue
        destination, control_id = said.groups()
        there = connection.execute(
            "SELECT 1 FROM outbox WHERE run_id = ? AND destination = ? AND control_id = ?",
            (record.run, destination, control_id),
        ).fetchone()
        if there is None:
            found.append(f"message {control_id} of run {record.run} is missing in the outbox")
    return found
