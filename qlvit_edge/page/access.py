"""Who may see the page and change something: a token, sessions, and a brake on guessing."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from qlvit_edge.page.connections import neighbourhood

SESSIONS = 64
"""Browsers that are known at a time; the one that was seen longest ago is forgotten."""

FAILURES, FAILURE_SECONDS = 5, 60.0
"""Wrong tokens that one address may send in so many seconds."""


class Access:
    """The sessions of one run's page; any thread may ask.

    Attributes:
        token: what opens the page; None where everybody who reaches it may see it.
    """

    def __init__(self, token: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.token = token
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def is_barred(self, client: str) -> bool:
        """Return whether an address sent too many wrong tokens just now.

        Nobody else is barred, however many guess: 128 bits are not found by guessing, and whoever
        has the token must not be shut out by those who have not.
        """
        with self._lock:
            since = self._clock() - FAILURE_SECONDS
            own = self._failures.get(neighbourhood(client), deque())
            return sum(t > since for t in own) >= FAILURES

    def log_in(self, client: str, token: str) -> str | None:
        """Return a new session's name; None for a wrong token, which is remembered."""
        if self.token is not None and not hmac.compare_digest(
            token.encode("utf-8", "replace"), self.token.encode()
        ):
            with self._lock:
                origin = neighbourhood(client)
                own = self._failures.setdefault(origin, deque(maxlen=FAILURES))
                own.append(self._clock())
                self._failures.move_to_end(origin)
                while len(self._failures) > 1024:
                    self._failures.popitem(last=False)
            return None
        session = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[session] = secrets.token_urlsafe(32)
            while len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
        return session

    def csrf_of(self, session: str | None) -> str | None:
        """Return what a change must carry in this session; None if there is no such session."""
        with self._lock:
            if session is None or session not in self._sessions:
                return None
            self._sessions.move_to_end(session)
            return self._sessions[session]

    def may_change(self, session: str | None, csrf: str) -> bool:
        """Return whether a change carries its session's own word."""
        expected = self.csrf_of(session)
        return expected is not None and hmac.compare_digest(
            csrf.encode("utf-8", "replace"), expected.encode()
        )


def new_token() -> str:
    """Return 128 random bits in letters that survive being typed."""
    return secrets.token_urlsafe(16)
