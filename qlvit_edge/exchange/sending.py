"""From the outbox of a results file to a listener: each message until it is acknowledged.

Before the first byte leaves, the file says that the message may have arrived; after the answer,
what became of it. Killed in between, the next command sends the same message again, under the
same control ID.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from qlvit_edge.errors import DataError
from qlvit_edge.exchange.mllp import Connection, Listener
from qlvit_edge.exchange.oru import message_of, result_of
from qlvit_edge.files import close_locked_file, lock_open_file
from qlvit_edge.microscope.sqlite_errors import patiently, speaking
from qlvit_edge.review import outbox
from qlvit_edge.review.names import required
from qlvit_edge.review.opening import WAIT_SECONDS, open_to_add, transaction
from qlvit_edge.review.outbox import OutboxMessage
from qlvit_edge.review.store import ReviewStore, reviewed_run

T = TypeVar("T")


class Post:
    """The outbox of a results file for one listener; one command at a time has it open."""

    def __init__(self, results: Path, listener: Listener, note: Callable[[str], None]) -> None:
        """Open it.

        Args:
            results: the results file; one of an older format is brought up to date.
            listener: where messages go.
            note: is told what a user should know.

        Raises:
            DataError: it is no results file that can be added to, or another command is sending.
            LockedError: another program has it locked.
        """
        self.results, self.listener, self._note = results, listener, note
        with ExitStack() as opened:
            self._connection = opened.enter_context(closing(open_to_add(results, note)))
            opened.enter_context(_alone(results))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._opened.close()

    def messages(self) -> list[OutboxMessage]:
        """Return what is there for the listener, in the order in which it was written.

        Raises:
            DataError: a message was altered.
        """
        return self._do(self._messages)

    def put(self, runs: Sequence[int], by: str) -> list[OutboxMessage]:
        """Put runs in as they stand; return their messages, also those that were there already.

        Of a signed run the same transaction records that it leaves.

        Raises:
            DataError: there is no such run, it goes on, or it is not what was signed.
        """
        name = required(by, "--by")
        wanted = [self._put(run, name) for run in runs]
        known = {one.control_id: one for one in self.messages()}
        return [known[control_id] for control_id in wanted]

    def _put(self, run: int, by: str) -> str:
        seen = self._do(partial(reviewed_run, path=self.results, run=run))
        if seen.run.goes_on:
            raise DataError(
                self.results, f"run {run} goes on, or was killed", "wait until it has ended"
            )
        message, destination = message_of(seen), str(self.listener)
        if any(one.control_id == message.control_id for one in self.messages()):
            return message.control_id

        def add(connection: sqlite3.Connection) -> None:
            if result_of(reviewed_run(connection, self.results, run)) != message.result:
                raise DataError(self.results, f"run {run} was changed meanwhile", "send it again")
            outbox.put(
                connection,
                run,
                destination,
                by,
                control_id=message.control_id,
                result=message.result,
                message=message.text,
            )

        if seen.status.is_signed:
            to = outbox.sent_to(destination, message.control_id)
            with ReviewStore(self.results, note=self._note) as store:
                store.export(run, to=to, by=by, also=add)
        else:
            self._do(add)
        return message.control_id

    def send(self, seconds: float, tell: Callable[[OutboxMessage], None]) -> list[OutboxMessage]:
        """Send what is open, oldest first, each once; stop where no answer comes.

        A message whose run has changed is withdrawn instead.

        Args:
            seconds: how long connecting may take, and an answer.
            tell: is told what became of each.

        Returns:
            What is still open.

        Raises:
            DeviceError: nobody listens; what was sent before is noted, nothing else has changed.
            DataError: the file cannot be written, or a message was altered.
        """
        for one in self.messages():
            if one.state not in outbox.OPEN:
                continue
            if self._is_stale(one):
                tell(self._do(partial(outbox.withdraw, message=one)))
                continue
            sent = self._send(one, seconds)
            tell(sent)
            if sent.state == "unanswered":
                break
        return [one for one in self.messages() if one.state in outbox.OPEN]

    def _send(self, message: OutboxMessage, seconds: float) -> OutboxMessage:
        with Connection(self.listener, seconds) as link:
            message = self._mark(
                message, "unanswered", "sent, not answered yet", attempts=message.attempts + 1
            )
            answer = link.exchange(message.message, message.control_id)
        return self._mark(message, answer.state, answer.text)

    def _is_stale(self, message: OutboxMessage) -> bool:
        seen = self._do(partial(reviewed_run, path=self.results, run=message.run))
        return result_of(seen) != message.result

    def _mark(
        self,
        message: OutboxMessage,
        state: outbox.Delivery,
        answer: str,
        attempts: int | None = None,
    ) -> OutboxMessage:
        def mark(connection: sqlite3.Connection) -> OutboxMessage:
            return outbox.note(connection, message, state, answer, attempts=attempts)

        return self._do(mark)

    def _messages(self, connection: sqlite3.Connection) -> list[OutboxMessage]:
        try:
            return outbox.messages_of(connection, str(self.listener))
        except outbox.AlteredOutboxError as error:
            raise DataError(self.results, str(error), "restore a backup") from None

    def _do(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Do a step in one transaction, patient with other programs' locks."""

        def once() -> T:
            with speaking(self.results), transaction(self._connection):
                return step(self._connection)

        return patiently(once, WAIT_SECONDS, self._note, self.results)


@contextmanager
def _alone(results: Path) -> Iterator[None]:
    """Keep other commands from sending what is in a results file.

    Raises:
        DataError: another one does.
    """
    path = Path(f"{results}-sending")
    descriptor = _locked(path)
    if descriptor is None:
        raise DataError(results, "another command sends from it", "wait until that has ended")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        close_locked_file(descriptor)


def _locked(path: Path) -> int | None:
    """Lock a file that may be removed by who had it locked before; None where another has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not lock_open_file(descriptor):
                os.close(descriptor)
                return None
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        close_locked_file(descriptor)
