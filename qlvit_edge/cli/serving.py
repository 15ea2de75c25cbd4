"""`run --serve`: the live page's start, and what is said about it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qlvit_edge.cli.extras import require

if TYPE_CHECKING:
    from qlvit_edge.microscope.session import Session
    from qlvit_edge.microscope.stopping import StopRequest
    from qlvit_edge.page.server import PageServer, Welcome

F = TypeVar("F", bound=Callable[..., Any])


def certificate_options(command: F) -> F:
    """Add ``--certificate`` and ``--key`` of the page to a command."""
    for option in (
        click.option(
            "--key",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Private key (PEM) of --certificate.",
        ),
        click.option(
            "--certificate",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Certificate of the page (PEM) in place of one that is made at first use.",
        ),
    ):
        command = option(command)
    return command


def require_page(
    serve: str | None, certificate: Path | None, key: Path | None, *, stay: bool | None = None
) -> None:
    """Check the options of the page before anything is loaded.

    Raises:
        click.UsageError: options that do not go together.
        DeviceError: what stands after --serve is no address.
        MissingExtraError: what serves the page is not installed.
    """
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key go together")
    if serve is None:
        if certificate is not None:
            raise click.UsageError("--certificate is the page's: add --serve")
        if stay:
            raise click.UsageError("--stay is the page's: add --serve")
        return
    require("page", "starlette", "uvicorn", "segno", "cryptography")
    from qlvit_edge.page.address import parse_address

    parse_address(serve)


@contextmanager
def page_of(
    session: Session,
    stop: StopRequest,
    serve: str | None,
    certificate: Path | None,
    key: Path | None,
    *,
    stay: bool | None,
) -> Iterator[PageServer | None]:
    """Serve a run's page meanwhile, and say where; None where no page is wanted.

    Args:
        session: the run.
        stop: what ends it, also for the page.
        serve: where, see `parse_address`; None: nowhere.
        certificate: PEM file; None for one of our own.
        key: of the certificate.
        stay: whether the page stays for further runs; None: where somebody sits at a terminal.

    Raises:
        DeviceError: the address cannot be used.
        DataError: the certificate cannot.
    """
    if serve is None:
        yield None
        return
    from qlvit_edge.cli.console import error_console
    from qlvit_edge.page.address import parse_address
    from qlvit_edge.page.orders import Orders
    from qlvit_edge.page.server import PageServer

    stays = error_console().is_terminal if stay is None else stay
    orders = Orders(stop.end_run, stays=stays)

    def note(text: str) -> None:
        with suppress(OSError):  # the terminal may be gone
            click.echo(f"note: {text}", err=True)

    pair = None if certificate is None or key is None else (certificate, key)
    address = parse_address(serve)
    with PageServer(session, address, note=note, certificate=pair, orders=orders) as page:
        with suppress(OSError):
            say_where(page.welcome)
        yield page


def say_where(welcome: Welcome) -> None:
    """Say where a page is, on a terminal with a QR code."""
    from qlvit_edge.cli.console import error_console

    reach = "this machine only" if welcome.is_local else "whoever has this link"
    click.echo(f"page: {welcome.link} ({reach})", err=True)
    if welcome.fingerprint is not None:
        click.echo(f"certificate (SHA-256): {welcome.fingerprint}", err=True)
    if welcome.is_local or not error_console().is_terminal:
        return
    import segno

    drawn = io.StringIO()
    segno.make(welcome.link, error="l").terminal(out=drawn, compact=True)
    click.echo(drawn.getvalue(), err=True)
