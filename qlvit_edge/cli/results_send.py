"""`qlvit-edge results send` and `results outbox`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.options import Number
from qlvit_edge.cli.result_options import by_option, results_argument, runs_option, say
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.review.outbox import OutboxMessage


@click.command()
@results_argument
@click.option("--to", "address", required=True, metavar="HOST:PORT", help="The MLLP listener.")
@runs_option
@click.option("--sample", metavar="ID", help="All runs of this sample.")
@by_option
@click.option(
    "--wait",
    "seconds",
    type=Number(min=0.1, max=600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a connection, and for an answer.",
)
@click.option("--tls", is_flag=True, help="Encrypt, and check the listener's certificate.")
@click.option(
    "--tls-ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificates (PEM) that vouch for the listener, with --tls  [default: the system's]",
)
def send(
    results: Path,
    address: str,
    runs: tuple[int, ...],
    sample: str | None,
    by: str,
    seconds: float,
    tls: bool,
    tls_ca: Path | None,
) -> None:
    """Send runs of RESULTS to a listener as HL7 v2.5.1 messages, ORU^R01, over MLLP.

    Runs named with --run or --sample are put into the outbox, in the results file; then all that
    is in the outbox for this listener and not acknowledged is sent. Without them, only that. A
    signed run is sent as final, any other as preliminary. What was sent and not acknowledged is
    sent again, the same to the byte, with the same control ID: a receiver must know it again by
    that. Exit code 2 where a message is not acknowledged.

    \b
    Example:
      qlvit-edge results send results.sqlite --to 192.0.2.7:2575 --run 1 --by "A. Reader"
      qlvit-edge results send results.sqlite --to 192.0.2.7:2575 --by cron
    """
    from qlvit_edge.errors import DeviceError
    from qlvit_edge.exchange.mllp import listener_at
    from qlvit_edge.exchange.sending import Post
    from qlvit_edge.review.names import required
    from qlvit_edge.review.selecting import selected_runs

    if tls_ca is not None and not tls:
        raise click.UsageError("--tls-ca: is for --tls")
    required(by, "--by")
    listener = listener_at(address, tls=tls, authority=tls_ca)
    chosen = selected_runs(results, runs, sample) if runs or sample is not None else []
    with Post(results, listener, say) as post:
        for one in post.put(chosen, by):
            if one.state == "delivered":
                since = one.changed[:19].replace("T", " ")
                click.echo(f"run {one.run}: was delivered before, {since} UTC")
        left = post.send(seconds, _tell)
    if left:
        finding = f"{counted(len(left), 'message')} not acknowledged ({plain(left[0].answer)})"
        remedy = "they stay in the outbox; send again, and `results outbox` shows them"
        raise DeviceError(listener, finding, remedy)


def _tell(message: OutboxMessage) -> None:
    said = f"run {message.run}: {message.state}, message {message.control_id}"
    click.echo(plain(f"{said} ({message.answer})"))


@click.command("outbox")
@results_argument
def outbox_command(results: Path) -> None:
    """List the messages in RESULTS and what became of them.

    \b
    Example:
      qlvit-edge results outbox results.sqlite
    """
    from qlvit_edge.errors import DataError
    from qlvit_edge.review import outbox
    from qlvit_edge.review.opening import reading

    with reading(results) as connection:
        try:
            messages = outbox.messages_of(connection)
        except outbox.AlteredOutboxError as error:
            raise DataError(results, str(error), "restore a backup") from None
    if not messages:
        click.echo("the outbox is empty")
        return
    for one in messages:
        since = one.changed[:19].replace("T", " ")
        said = f"run {one.run} to {one.destination}: {one.state} since {since} UTC"
        sent = f"sent {counted(one.attempts, 'time')}" if one.attempts else "not sent"
        answer = f" ({one.answer})" if one.answer else ""
        click.echo(plain(f"{said}, {sent}, message {one.control_id}, by {one.by}{answer}"))
