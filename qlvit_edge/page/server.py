"""The page's server, in a thread of its own: its failures do not end the run."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from qlvit_edge.microscope.session import Session
from qlvit_edge.page.access import Access, new_token
from qlvit_edge.page.address import Address, authority, outside_address
from qlvit_edge.page.application import application
from qlvit_edge.page.certificate import Certificate, own_certificate, own_folder
from qlvit_edge.page.connections import Listener, Protocol
from qlvit_edge.page.orders import Orders
from qlvit_edge.page.state import View

RESTARTS, RESTART_SECONDS = 5, 60.0

WATCHED_SECONDS = 2.0
"""A page that asked in the last so many seconds is still open."""

FAREWELL_SECONDS = 0.9
"""How long it is told how the run ended: longer than from one of its questions to the next."""


@dataclass(frozen=True)
class Welcome:
    """How to get at the page.

    Attributes:
        link: its address, with the token.
        fingerprint: of its certificate (SHA-256); None without TLS.
        is_local: whether only this machine reaches it.
    """

    link: str
    fingerprint: str | None
    is_local: bool


class Server:
    """Serves a page while it is entered.

    Attributes:
        welcome: how to get at it.
    """

    def __init__(
        self,
        made: Callable[[Access, bool], ASGIApp],
        address: Address,
        *,
        note: Callable[[str], None],
        certificate: tuple[Path, Path] | None,
        meanwhile: str,
    ) -> None:
        """Open the address.

        Args:
            made: returns the page for those who may see it, served over TLS or not.
            address: where to serve it.
            note: called with what the user should know, from any thread.
            certificate: PEM files of certificate and key; None: one of our own, for addresses
                that other machines reach.
            meanwhile: what is said with a failure.

        Raises:
            DeviceError: the address cannot be used.
            DataError: the certificate cannot.
        """
        self._note, self._meanwhile = note, meanwhile
        own = None
        if certificate is not None:
            own = Certificate(*certificate)
        elif not address.is_local:
            own = own_certificate(own_folder())
        context = None if own is None else own.context()
        access = Access(None if address.is_local else new_token())
        self._socket = address.listen()
        self._config = uvicorn.Config(
            made(access, own is not None),
            http=Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16384,
            ssl_context_factory=None if context is None else lambda *_: context,
        )
        self.welcome = self._welcome(address, own, access.token)
        self._server: uvicorn.Server | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, in three seconds at most; browsers that are open hear of it first."""
        if self._thread.is_alive() and self._is_watched():
            self._stopping.wait(FAREWELL_SECONDS)
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(timeout=2)
        self._socket.close()

    def _is_watched(self) -> bool:
        """Return whether somebody looks who should hear of the end first."""
        return False

    def _give_up(self) -> None:
        """Do what there is to do when the page is off for good."""

    def _serve(self) -> None:
        """Serve until it is enough; start again after a failure, unless they follow closely."""
        failures: deque[float] = deque(maxlen=RESTARTS)
        while not self._stopping.is_set():
            self._server = uvicorn.Server(self._config)
            finding = "it ended"
            try:
                with Listener(self._socket) as listener:
                    self._server.run(sockets=[listener])
            except (Exception, SystemExit) as error:
                finding = str(error) or type(error).__name__
            if self._stopping.is_set():
                return
            failures.append(time.monotonic())
            if len(failures) == RESTARTS and failures[-1] - failures[0] < RESTART_SECONDS:
                self._note(f"the page failed {RESTARTS} times and is off{self._meanwhile}")
                self._give_up()
                return
            self._note(f"the page failed ({finding}) and is started again{self._meanwhile}")
            self._stopping.wait(0.5)

    def _welcome(self, address: Address, own: Certificate | None, token: str | None) -> Welcome:
        bound, port = self._socket.getsockname()[:2]
        host = outside_address() if bound in ("0.0.0.0", "::") else address.host  # noqa: S104 - asked, not bound
        scheme = "http" if own is None else "https"
        secret = "" if token is None else f"#{token}"
        return Welcome(
            link=f"{scheme}://{authority(host, port)}/{secret}",
            fingerprint=None if own is None else own.fingerprint(),
            is_local=address.is_local,
        )


class PageServer(Server):
    """Serves a run's page, and the review of its results file.

    Attributes:
        view: what is shown.
    """

    def __init__(
        self,
        session: Session,
        address: Address,
        *,
        note: Callable[[str], None],
        certificate: tuple[Path, Path] | None = None,
        orders: Orders | None = None,
    ) -> None:
        """Open the address, before the run begins; arguments and errors as of `Server`.

        Args:
            session: the run.
            address: where to serve it.
            note: called with what the user should know, from any thread.
            certificate: PEM files of certificate and key, or None.
            orders: takes what is asked for on the page; None: nobody does.
        """
        self.view = view = View(session, orders)
        super().__init__(
            lambda access, secure: application(view, access, address, secure=secure),
            address,
            note=note,
            certificate=certificate,
            meanwhile="; the run goes on",
        )

    def looking(self, after_frame: Callable[[], None]) -> Callable[[], None]:
        """Return what is called after each frame, here and elsewhere."""

        def both() -> None:
            self.view.growth.look()
            after_frame()

        return both

    def noting(self, note: Callable[[str], None]) -> Callable[[str], None]:
        """Return what says a note elsewhere and on the page."""

        def both(text: str) -> None:
            self.view.notes.append(text)
            note(text)

        self.view.say = both
        return both

    def _is_watched(self) -> bool:
        self.view.closing = True
        return time.monotonic() - self.view.asked < WATCHED_SECONDS

    def _give_up(self) -> None:
        self.view.orders.leave()


class ReviewServer(Server):
    """Serves the review of a results file, without a run."""

    def __init__(
        self,
        results: Path,
        address: Address,
        *,
        note: Callable[[str], None],
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """Open the address; arguments and errors as of `Server`.

        Args:
            results: the results file.
            address: where to serve it.
            note: called with what the user should know, from any thread.
            certificate: PEM files of certificate and key, or None.
        """
        super().__init__(
            lambda access, secure: application(
                None, access, address, secure=secure, results=results
            ),
            address,
            note=note,
            certificate=certificate,
            meanwhile="",
        )

    def is_up(self) -> bool:
        """Return, a moment later, whether it is still served."""
        self._thread.join(timeout=0.2)
        return self._thread.is_alive()
