"""`qlvit-edge models install`, `status` and `rollback`: what runs on this device."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from qlvit_edge.cli.console import next_step
from qlvit_edge.cli.delivery_options import (
    json_option,
    keys_option,
    store_of,
    store_option,
    trusted,
)
from qlvit_edge.cli.options import Whole, runtime_options
from qlvit_edge.text import plain

if TYPE_CHECKING:
    from qlvit_edge.delivery.install import Installation
    from qlvit_edge.inference.interpreter import Runtime

STATUS_FORMAT = 1
"""Version of what `status --json` prints; fields are added, never changed."""

_RESTART = "start the run again, for it to use this model: sudo systemctl restart qlvit-edge"


@click.command("install")
@click.argument("bundle", type=click.Path(path_type=Path))
@store_option
@keys_option
@click.option(
    "--allow-downgrade", is_flag=True, help="Let an older version take a newer one's place."
)
@runtime_options
@click.option(
    "--threads",
    type=Whole(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads that run the model.",
)
@click.option(
    "--delegate",
    metavar="LIBRARY",
    help="Test the compiled segments of a chain on an Edge TPU, e.g. libedgetpu.so.1; never tried "
    "on hardware.",
)
@json_option
def install_bundle(
    bundle: Path,
    store: Path | None,
    keys: Path | None,
    allow_downgrade: bool,
    kernels: str,
    runtime: str,
    threads: int,
    delegate: str | None,
    as_json: bool,
) -> None:
    """Install the model in BUNDLE on this device; `run installed` uses it from its next start on.

    It is verified, written beside the model that runs, read back, and tested on the runtime and
    kernels that are named: golden pairs, the bundled crops, the time of an inference. Only then one
    step makes it the active one, on trial. Whatever ends this before, a power cut too, leaves the
    model that runs as it is. Give the runtime options that the run is given.
    Exit code 1: the model is wrong or too slow here. 2: it is refused.

    \b
    Example:
      qlvit-edge models install wbc-1.4.0.qlvit
      qlvit-edge models install wbc-1.3.0.qlvit --allow-downgrade
    """
    trusted_keys = trusted(keys)
    from qlvit_edge.delivery.examination import Engine
    from qlvit_edge.delivery.install import Installer
    from qlvit_edge.files import json_text
    from qlvit_edge.inference.interpreter import Kernels

    place = store_of(store)
    engine = Engine(cast("Runtime", runtime), Kernels(kernels), threads, delegate)
    done = Installer(place, trusted_keys, engine, allow_older=allow_downgrade).install(bundle)
    if as_json:
        click.echo(json_text(_installed(done, place.folder)))
        return
    for line in _lines(done):
        click.echo(plain(line))
    if done.outcome == "installed":
        next_step(_RESTART)


def _installed(done: Installation, store: Path) -> dict[str, Any]:
    model = done.model
    return {
        "outcome": done.outcome,
        "store": str(store),
        "slot": done.slot,
        "name": model.name,
        "version": model.version,
        "key": model.key,
        "sha256": model.sha256,
        "standing": model.standing,
        "replaces": done.replaces,
        "seconds": {step: round(seconds, 4) for step, seconds in done.seconds.items()},
        "checks": None if done.examined is None else asdict(done.examined),
    }


def _lines(done: Installation) -> list[str]:
    model, examined = done.model, done.examined
    if examined is None:
        return [f"{model.title} is installed already, in slot {done.slot} ({model.standing})"]
    steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in done.seconds.items())
    was = f"; {done.replaces} ran so far" if done.replaces else ""
    return [
        f"signed by {model.key}",
        examined.golden,
        examined.self_test,
        f"kernels: {examined.kernels}; one inference in ten takes more than "
        f"{examined.slow_ms:.1f} ms",
        f"{model.title} is installed in slot {done.slot}, on trial{was}",
        f"seconds: {steps}; {sum(done.seconds.values()):.2f} in all",
    ]


@click.command("status")
@store_option
@keys_option
@json_option
def show_status(store: Path | None, keys: Path | None, as_json: bool) -> None:
    """Show what is installed, whether it is on trial, and what happened.

    Both models are verified as they lie on the disk. Nothing is changed.
    Exit code 1: the active model cannot be used.

    \b
    Example:
      qlvit-edge models status
      qlvit-edge models status --json
    """
    trusted_keys = trusted(keys)
    from qlvit_edge.delivery.status import status_of
    from qlvit_edge.files import json_text

    place = store_of(store)
    status = status_of(place, trusted_keys)
    if as_json:
        click.echo(json_text({"format": STATUS_FORMAT, **status.as_dict()}))
    else:
        for line in status.lines():
            click.echo(plain(line))
    if not status.usable:
        click.get_current_context().exit(1)
    if status.state.active is None:
        next_step("qlvit-edge models install FILE.qlvit", as_json=as_json)


@click.command("rollback")
@store_option
@keys_option
@json_option
def roll_back(store: Path | None, keys: Path | None, as_json: bool) -> None:
    """Go back to the model in the other slot; an older version is allowed.

    It is verified first. A model that had failed is on trial again. `run installed` uses it from
    its next start on.

    \b
    Example:
      qlvit-edge models rollback
    """
    trusted_keys = trusted(keys)
    from qlvit_edge.delivery.status import go_back
    from qlvit_edge.files import json_text

    place = store_of(store)
    left, now = go_back(place, trusted_keys)
    if as_json:
        said = {"from": left.title, "to": now.title, "standing": now.standing}
        click.echo(json_text(said))
        return
    click.echo(plain(f"{now.title} is the active model ({now.standing}); {left.title} is kept"))
    next_step(_RESTART)
