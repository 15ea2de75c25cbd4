"""`qlvit-edge results serve`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from qlvit_edge.cli.result_options import results_argument
from qlvit_edge.cli.serving import certificate_options, require_page, say_where


@click.command()
@results_argument
@click.argument("address", metavar="[HOST:PORT]", default="127.0.0.1:8321")
@certificate_options
def serve(results: Path, address: str, certificate: Path | None, key: Path | None) -> None:
    """Review RESULTS in a browser, at 127.0.0.1:8321 unless told otherwise; Ctrl-C ends it.

    The page of `run --serve` without a run: gallery by class, random cells without the model's
    answer, signing, export. Any machine but this one needs the link that is printed. Pictures need
    the frames that `run --keep` saved.

    \b
    Example:
      qlvit-edge results serve results.sqlite
    """
    from qlvit_edge.microscope.stopping import StopRequest

    require_page(address, certificate, key)
    from qlvit_edge.page.address import parse_address
    from qlvit_edge.page.server import ReviewServer
    from qlvit_edge.review.cells import runs_of
    from qlvit_edge.review.opening import reading

    def note(text: str) -> None:
        with suppress(OSError):  # the terminal may be gone
            click.echo(f"note: {text}", err=True)

    with reading(results) as connection:
        runs_of(connection)  # refused here, not in the browser
    pair = None if certificate is None or key is None else (certificate, key)
    server = ReviewServer(results, parse_address(address), note=note, certificate=pair)
    with StopRequest() as stop, server:
        with suppress(OSError):
            say_where(server.welcome)
        while stop.requested is None and server.is_up():
            pass
    if stop.requested is None:
        click.get_current_context().exit(1)
