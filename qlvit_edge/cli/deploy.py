"""`qlvit-edge deploy`."""

from __future__ import annotations

from pathlib import Path

import click

from qlvit_edge.cli.options import Number
from qlvit_edge.cli.progress import progress_bar


@click.command()
@click.argument("address", metavar="USER@HOST")
@click.argument("bundle", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--validate",
    "data",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Labelled images to validate the model with there.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where the report comes to."
)
@click.option("--min-accuracy", type=Number(min=0, max=100), help="See `validate`, in percent.")
@click.option("--max-latency", type=Number(min=0, open_min=True), help="See `validate`, in ms.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Port of its SSH server.")
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Private key to log in with.",
)
@click.option(
    "--known-hosts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Host keys to check against  [default: those that ssh knows]",
)
@click.option("--sudo", is_flag=True, help="Let sudo there install, validate and restart.")
@click.option(
    "--program",
    default="qlvit-edge",
    show_default=True,
    metavar="PATH",
    help="The command on the device.",
)
@click.option("--allow-downgrade", is_flag=True, help="Install it over a newer version too.")
@click.option("--no-restart", is_flag=True, help="Leave a running service with its model.")
@click.option("--keep", is_flag=True, help="Leave the model in use though validation failed.")
def command(
    address: str,
    bundle: Path,
    data: Path | None,
    out: Path | None,
    min_accuracy: float | None,
    max_latency: float | None,
    port: int | None,
    identity: Path | None,
    known_hosts: Path | None,
    sudo: bool,
    program: str,
    allow_downgrade: bool,
    no_restart: bool,
    keep: bool,
) -> None:
    """Bring the signed MODEL to a device over SSH, install it and validate it there.

    MODEL is what `models sign` wrote. The device installs it only if it trusts its key, and only
    after its own tests. With --validate it is measured there on DATA before the service gets it,
    and the report comes to --out; a model that may not be used is taken back. Host keys are
    checked and no password is asked for. After a cut, run the same command again: it goes on
    where it stopped. Exit code 1: the model did not pass there.

    \b
    Example:
      qlvit-edge deploy pi@microscope blood.qlvit --sudo --validate cells/ --out microscope/
    """
    from qlvit_edge.delivery.bundle import read_bundle
    from qlvit_edge.deployment.address import parsed
    from qlvit_edge.deployment.deploy import Deployment, Manner
    from qlvit_edge.deployment.ssh import Device
    from qlvit_edge.files import ensure_writable

    if (data is None) != (out is None):
        raise click.UsageError("--validate and --out: give both or none")
    if data is None and (min_accuracy is not None or max_latency is not None):
        raise click.UsageError("--min-accuracy and --max-latency: are for --validate")
    read_bundle(bundle)
    place = parsed(address)
    if out is not None:
        ensure_writable(out)
    device = Device(place, port=port, identity=identity, known_hosts=known_hosts)
    manner = Manner(program, sudo, allow_downgrade, not no_restart, keep)
    deployment = Deployment(device, manner, say=click.echo, progress=progress_bar)
    deployment.look()
    deployment.install(bundle)
    if data is not None and out is not None:
        gates = {"--min-accuracy": min_accuracy, "--max-latency": max_latency}
        options = [(name, f"{value:g}") for name, value in gates.items() if value is not None]
        deployment.validate(data, out, tuple(word for pair in options for word in pair))
    if not no_restart:
        deployment.restart()
