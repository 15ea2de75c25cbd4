"""`train --from RUN`: the run that a training starts from, and the network that follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from qlvit_edge.model.configs import NetworkConfig
    from qlvit_edge.training.checkpoint import Checkpoint

from_option = click.option(
    "--from",
    "from_run",
    metavar="RUN",
    help="Start from the best weights of another run (a run folder or a bundled name), also with "
    "other classes: those of the same name keep what was learned of them. The network has the "
    "shape of RUN; choose a lower --rate and fewer --epochs than from scratch.",
)

_NAMES = {"size": "--model", "softmax": "--softmax", "kan_basis": "--kan"}


def starting_run(name: str | None) -> Checkpoint | None:
    """Read the run that a training starts from; None where none is named.

    Raises:
        CheckpointError: it is no run folder or bundled name, or is damaged.
    """
    from qlvit_edge.bundled import resolve_run
    from qlvit_edge.training.checkpoint import load_checkpoint

    return None if name is None else load_checkpoint(resolve_run(name))


def network_for(
    classes: int, start: Checkpoint | None, options: Mapping[str, Any]
) -> NetworkConfig:
    """Return the network that is trained: as the options say, or that of the run started from.

    Args:
        classes: their number.
        start: the run that the training starts from.
        options: of `train`.

    Raises:
        QLViTEdgeError: the network cannot be built.
        click.UsageError: an option was given that the run's network has otherwise.
    """
    from qlvit_edge.model.configs import size_config

    asked = {"size": options["size"], **options["member"]}
    if options["softmax"] is not None:
        asked["softmax"] = options["softmax"]
    if start is None:
        size = asked.pop("size")
        return size_config(size, classes=classes, **asked)
    network = start.run.network
    context = click.get_current_context()
    for field, value in asked.items():
        if context.get_parameter_source(field) is ParameterSource.DEFAULT:
            continue
        found = getattr(network, field)
        if value != found:
            option = _NAMES.get(field, f"--{field.replace('_', '-')}")
            raise click.UsageError(
                f"{option}: the network of {start.folder.name} has {_shown(found)} there, not "
                f"{_shown(value)}; leave {option} out, or train from scratch"
            )
    return network.model_copy(update={"classes": classes})


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
