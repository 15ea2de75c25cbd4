"""`qlvit-edge deploy`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.options import Number, Whole
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
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="predictions.json that `validate` wrote here for the same model and images.",
)
@click.option("--min-accuracy", type=Number(min=0, max=100), help="In percent, see `validate`.")
@click.option("--max-latency", type=Number(min=0, min_open=True), help="In ms, see `validate`.")
@click.option("--port", type=Whole(1, 65535), metavar="N", help="Port of its SSH server.")
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
    compare: Path | None,
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
      qlvit-edge validate blood.tflite --data cells/ --out here/
      qlvit-edge deploy pi@microscope blood.qlvit --sudo --validate cells/ \\
          --compare here/predictions.json --min-accuracy 90 --out microscope/
    """
    from qlvit_edge.delivery.bundle import require_bundle
    from qlvit_edge.deployment.address import parsed
    from qlvit_edge.deployment.deploy import Deployment, Manner
    from qlvit_edge.deployment.parcel import pack
    from qlvit_edge.deployment.ssh import Device
    from qlvit_edge.evaluation.predictions import read_predictions
    from qlvit_edge.files import ensure_writable

    if (data is None) != (out is None):
        raise click.UsageError("--validate and --out: give both or none")
    gates = {"--min-accuracy": min_accuracy, "--max-latency": max_latency}
    if data is None and (compare, min_accuracy, max_latency) != (None, None, None):
        raise click.UsageError("--compare, --min-accuracy and --max-latency: are for --validate")
    require_bundle(bundle)
    if compare is not None:
        read_predictions(compare)
    place = parsed(address)
    if out is not None:
        ensure_writable(out)
    device = Device(place, port=port, identity=identity, known_hosts=known_hosts)
    manner = Manner(program, sudo, allow_downgrade, not no_restart, keep)
    deployment = Deployment(device, manner, say=click.echo, progress=progress_bar)
    with tempfile.TemporaryDirectory() as folder:
        parcel = None if data is None else pack(data, Path(folder) / "images.tar")
        deployment.look()
        deployment.install(bundle)
        if parcel is not None and out is not None:
            options = [(name, f"{value:g}") for name, value in gates.items() if value is not None]
            words = tuple(word for pair in options for word in pair)
            deployment.validate(parcel, out, compare, words)
    if not no_restart:
        deployment.restart()
    next_step(f"ssh {place} {shell_word(program)} models status", "what is installed there")
