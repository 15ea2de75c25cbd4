"""One message to a listener and its acknowledgement back, framed as MLLP, with or without TLS.

Only an acknowledgement of this very message counts. Whatever else happens after the first byte
was sent leaves it open whether the message arrived.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from qlvit_edge.errors import DataError, DeviceError
from qlvit_edge.text import plain

_START, _END = b"\x0b", b"\x1c\r"
_NAK: Final = b"\x15"
_MOST_BYTES: Final = 65536
"""Of an answer: an acknowledgement has some hundred."""

_TAKEN: Final = ("AA", "CA")
_REFUSED: Final = ("AE", "AR", "CE", "CR")

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Listener:
    """Where messages go.

    Attributes:
        host: a name or an IP address, without brackets.
        port: 1 to 65535.
        tls: whether the connection is encrypted, and the listener's certificate checked.
        authority: file of certificates that vouch for it; None: those that the system trusts.
    """

    host: str
    port: int
    tls: bool = False
    authority: Path | None = None

    def __str__(self) -> str:
        """Return its address, as the outbox names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mllp{'s' if self.tls else ''}://{host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What became of a message.

    Attributes:
        state: as in the outbox.
        text: what was answered, or what happened.
    """

    state: Literal["delivered", "refused", "unanswered"]
    text: str


def listener_at(address: str, *, tls: bool = False, authority: Path | None = None) -> Listener:
    """Return the listener at HOST:PORT; an IPv6 address stands in brackets.

    Raises:
        DataError: it is no such address.
    """
    found = _ADDRESS.fullmatch(address.strip())
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise DataError("--to", f"{address[:80]!a} is no HOST:PORT", "such as 192.0.2.7:2575")
    return Listener(found[1].strip("[]").lower(), int(found[2]), tls, authority)


class Connection:
    """An open connection to a listener, for one message."""

    def __init__(self, listener: Listener, seconds: float) -> None:
        """Connect.

        Args:
            listener: where to.
            seconds: how long connecting may take, and then an answer.

        Raises:
            DeviceError: nobody listens there, or its certificate is not trusted; nothing was sent.
            DataError: the file of certificates cannot be read.
        """
        self._seconds = seconds
        context = _context(listener) if listener.tls else None
        try:
            link = socket.create_connection((listener.host, listener.port), seconds)
        except (OSError, UnicodeError) as error:
            raise _unreached(listener, error) from None
        try:
            self._link = (
                link
                if context is None
                else context.wrap_socket(link, server_hostname=listener.host)
            )
        except (OSError, ValueError) as error:
            link.close()
            raise _unreached(listener, error) from None

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
        self._link.close()

    def exchange(self, message: str, control_id: str) -> Answer:
        """Send a message and wait for its acknowledgement.

        Args:
            message: segments, with carriage returns.
            control_id: that the acknowledgement must name.
        """
        try:
            self._link.settimeout(self._seconds)
            self._link.sendall(_START + message.encode("utf-8") + _END)
            return self._answer(control_id, time.monotonic() + self._seconds)
        except TimeoutError:
            return Answer("unanswered", f"no acknowledgement within {self._seconds:g} s")
        except OSError as error:
            return Answer("unanswered", f"the connection was lost ({_said(error)})")

    def _answer(self, control_id: str, deadline: float) -> Answer:
        """Read blocks until one is an acknowledgement, of this message or not."""
        found = b""
        while len(found) <= _MOST_BYTES:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._link.settimeout(left)
            more = self._link.recv(4096)
            if not more:
                what = "half an acknowledgement" if found else "no acknowledgement"
                return Answer("unanswered", f"the listener hung up, with {what}")
            found += more
            while _END in found:
                block, _, found = found.partition(_END)
                answer = read_answer(block, control_id)
                if answer is not None:
                    return answer
        return Answer("unanswered", f"an answer of more than {_MOST_BYTES} bytes, which is none")


def read_answer(block: bytes, control_id: str) -> Answer | None:
    """Return what a block says of a message; None where only its transport is confirmed.

    Args:
        block: from the mark of its beginning, without that of its end.
        control_id: of the message.
    """
    _, mark, content = block.rpartition(_START)
    if not mark:
        return Answer("unanswered", "the answer is no MLLP block")
    if content == _NAK:
        return Answer("refused", "NAK: the listener could not take it")
    if content == b"\x06":
        return None
    text = content.decode("utf-8", "replace").replace("\n", "\r")
    segments = [one for one in text.split("\r") if one]
    if len(text) < 8 or not text.startswith("MSH"):
        return Answer("unanswered", f"the answer is no HL7 message: {_short(text)}")
    fields = [one.split(text[3]) for one in segments]
    said = next((one for one in fields if one[0] == "MSA" and len(one) > 2), None)
    if said is None:
        return Answer("unanswered", "the answer acknowledges nothing (it has no MSA)")
    code, of = said[1].strip(), said[2].strip()
    if of != control_id:
        return Answer("unanswered", f"another message was acknowledged: {_short(of)}")
    reason = " ".join(one for one in (*said[3:4], *_errors(fields)) if one)
    told = f"{code}: {_short(reason)}" if reason else code
    if code in _TAKEN:
        return Answer("delivered", told)
    if code in _REFUSED:
        return Answer("refused", told)
    return Answer("unanswered", f"the answer has an unknown code: {_short(code)}")


def _errors(fields: list[list[str]]) -> list[str]:
    """What ERR segments say for people (ERR-8) or, without that, for programs (ERR-3)."""
    found = []
    for one in fields:
        if one[0] == "ERR":
            told = [one[number] for number in (8, 7, 3) if len(one) > number and one[number]]
            found += told[:1]
    return found


def _short(text: str) -> str:
    return plain(text)[:200]


def _context(listener: Listener) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=listener.authority)
    except (OSError, ValueError) as error:
        finding = f"holds no certificates ({_said(error)})"
        raise DataError(listener.authority, finding, "name a file of them as PEM") from None


def _unreached(listener: Listener, error: Exception) -> DeviceError:
    finding = f"cannot be reached ({_said(error)}), nothing was sent"
    remedy = "messages wait in the outbox; send again when the listener runs"
    return DeviceError(listener, finding, remedy)


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
