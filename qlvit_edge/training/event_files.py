"""The history as event files that TensorBoard shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qlvit_edge.training.state import Row

FOLDER = "tensorboard"


@contextmanager
def event_file(run_folder: Path, trained: int) -> Iterator[Callable[[Row], None]]:
    """Yield what writes an epoch's row as scalars below ``tensorboard/`` of a run folder.

    Needs the package `tensorboard`.

    Args:
        run_folder: the run folder.
        trained: epochs on the disk; events of later ones, of a run that was killed between
            the two, are hidden.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run_folder / FOLDER), purge_step=trained + 1)

    def write(row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(row["epoch"]))
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
