"""`train` in several processes: joining them, and what is said when one is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.streams import unmute
from qlvit_edge.errors import DataError, DeviceError, QLViTEdgeError
from qlvit_edge.launch import launch

if TYPE_CHECKING:
    import torch

    from qlvit_edge.training.workers import Workers


def own_device(name: str) -> torch.device:
    """Return where this process trains.

    Raises:
        DeviceError: see `choose_device`; of each machine one process says so.
    """
    from qlvit_edge.training.devices import choose_device

    try:
        return choose_device(name)
    except DeviceError:
        found = launch()
        if found is not None and found.local_rank == 0:
            unmute()
        raise


@contextmanager
def joined_processes(
    device: torch.device, batch: int, kept: Callable[[], str]
) -> Iterator[Workers]:
    """Join the processes that `torchrun` started; yields what stands for them.

    Args:
        device: where this process trains.
        batch: images that all of them share in a step.
        kept: says how to go on after an interrupt; "" where nothing is kept.

    Raises:
        DataError: there are more processes than images in a step.
        WorkerLostError: another process ended.
    """
    from qlvit_edge.training.distributed import together

    try:
        with together(device, lambda: kept() or "run the command again") as workers:
            if workers.size > 1 and 2 * workers.size > batch:
                raise DataError(
                    "--batch",
                    f"{batch} images are too few for {workers.size} processes",
                    f"choose {2 * workers.size} or more, or start fewer processes",
                )
            yield workers
    except KeyboardInterrupt:
        if remedy := kept():
            click.echo(remedy, err=True)
        raise
    except Exception:
        unmute()
        raise


def going_on(out: Path) -> str:
    """Return how to go on with the run that a folder holds; "" where no epoch is kept."""
    from qlvit_edge.training.checkpoint import LAST_FILE, read_run_config
    from qlvit_edge.training.state import read_history

    try:
        kept = len(read_history(out / LAST_FILE))
        epochs = read_run_config(out).training.epochs
    except QLViTEdgeError:
        return ""
    return f"{out} keeps {kept} of {epochs} epochs; go on with the same command and --resume"


def require_one_process(option: str) -> None:
    """Refuse an option that several processes do not share the work of.

    Raises:
        click.UsageError: this is one of several.
    """
    found = launch()
    if found is not None:
        raise click.UsageError(
            f"{option} does not go with torchrun, which started {found.size} processes; leave it "
            "out, or start `qlvit-edge train` once"
        )
