"""The child's side of `qlvit_edge.inference.child`: it answers calls until its owner is gone.

It imports as little as possible: what a call needs is imported with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import resource
import signal
import struct
import sys
from pathlib import Path

HEADER = struct.Struct("<Q")
"""Before every message: its bytes."""

PIECE = 1 << 20
"""Most bytes that are read or written at once."""

_MOST_NOISE = 1 << 20
_ADDRESSES = 2 << 30  # libraries and memory that is reserved, but not used


def serve() -> None:
    """Answer calls from standard input on standard output; see `child.Child`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lifeline, memory_bytes = map(int, sys.argv[1:])
    _end_with_owner(lifeline)
    _limit(memory_bytes)
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # native code that prints must not end up in the answers
    while (message := _message(requests)) is not None:
        answer = _answer(message)
        _write(answers, HEADER.pack(len(answer)) + answer)


def _answer(message: memoryview) -> bytes:
    """Call what a message asks for; returns whether it failed, and its value or error."""
    outcome: tuple[bool, object]
    try:
        function, arguments, options = pickle.loads(message)  # noqa: S301 - its parent wrote it
        outcome = (False, function(*arguments, **options))
    except Exception as error:
        outcome = (True, error)
    try:
        return pickle.dumps(outcome, protocol=5)
    except Exception as error:
        return pickle.dumps((True, TypeError(f"its outcome cannot be sent ({error})")))


def _end_with_owner(lifeline: int) -> None:
    """Let the system end this process when nobody holds the other end of a pipe any more.

    A signal whose default is to end the process, so that it works while native code runs.
    """
    # Without signals of pipes (an emulator), it ends when it next waits for its owner.
    with contextlib.suppress(OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        if not os.read(lifeline, 1):  # it was gone before
            os._exit(0)


def _limit(memory_bytes: int) -> None:
    """Bound what this process can take; it leaves no core file and is the first to go."""
    _lower(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _lower(resource.RLIMIT_FSIZE, _MOST_NOISE)
    if memory_bytes:
        _lower(resource.RLIMIT_DATA, memory_bytes)
        _lower(resource.RLIMIT_AS, memory_bytes + _ADDRESSES)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = min(limit, sys.maxsize)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (limit, limit))


def _message(descriptor: int) -> memoryview | None:
    """Read one message; None at the end. Its sender waits for the answer before the next."""
    received, wanted = bytearray(), HEADER.size
    while len(received) < wanted:
        piece = os.read(descriptor, PIECE)
        if not piece:
            return None
        received += piece
        if wanted == HEADER.size <= len(received):
            wanted += HEADER.unpack_from(received)[0]
    return memoryview(received)[HEADER.size :]


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
