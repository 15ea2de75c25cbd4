"""How `qlvit-edge train` shows its progress: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import error_console
from qlvit_edge.training.listener import Listener

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from qlvit_edge.training.loop import Progress
    from qlvit_edge.training.state import Row

_WORTH_SAYING = 0.05
"""Share of the time that training waits for images."""


@contextmanager
def display() -> Iterator[Listener]:
    """Yield what shows a session on stderr."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = error_console()
    if not console.is_terminal:
        yield EpochLog()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
    ) as bar:
        yield TrainingBar(bar)


class _Shown(Listener):
    """Notes go to stdout; the best epoch is remembered."""

    epochs = 0
    images = 0

    def noted(self, text: str) -> None:
        click.echo(text)

    def begun(self, epochs: int, images: int) -> None:
        self.epochs, self.images = epochs, images


class EpochLog(_Shown):
    """Writes a line per epoch: without a terminal, the log shows how far it is."""

    def epoch_done(self, row: Row, best: int) -> None:
        """See `Listener`."""
        line = f"epoch {int(row['epoch'])}/{self.epochs}: loss {row['loss']:.4f}, "
        line += f"accuracy {row['training_accuracy']:.1%}"
        if found := validation(row):
            line += f", {found}, best {'so far' if best == row['epoch'] else f'in epoch {best}'}"
        click.echo(f"{line}, {row['seconds']:.1f} s", err=True)


class TrainingBar(_Shown):
    """Draws a bar over all epochs, with the figures of this one and validation of the last."""

    def __init__(self, bar: Bar) -> None:
        """Draw on ``bar``."""
        self._bar = bar
        self._validation = ""

    def preparing(self, images: int) -> AbstractContextManager[Callable[[], None]]:
        """See `Listener`."""
        return self._preparing(images)

    @contextmanager
    def _preparing(self, images: int) -> Iterator[Callable[[], None]]:
        task = self._bar.add_task("preparing images", total=images, figures="")
        yield lambda: self._bar.advance(task)
        self._bar.remove_task(task)

    def begun(self, epochs: int, images: int) -> None:
        """See `Listener`."""
        super().begun(epochs, images)
        self._task = self._bar.add_task("training", total=epochs * images, figures="")
        self._done = 0

    def batch_done(self, now: Progress) -> None:
        """See `Listener`."""
        figures = (
            f"epoch {now.epoch + 1}/{self.epochs}  loss {now.loss:.3f}  "
            f"accuracy {now.accuracy:.1%}  {now.images_per_second:.0f} images/s"
        )
        if now.waiting > _WORTH_SAYING:
            figures += f" ({now.waiting:.0%} waiting for images)"
        self._done = max(self._done, now.epoch * self.images) + now.images
        self._bar.update(self._task, completed=self._done, figures=figures + self._validation)

    def epoch_done(self, row: Row, best: int) -> None:
        """See `Listener`."""
        if found := validation(row):
            self._validation = f"  {found} (best in epoch {best})"


def validation(row: Row) -> str:
    """Return an epoch's validation figures in words; nothing where there are none."""
    parts = [
        f"{word} {row[name]:.1%}"
        for word, name in (("validation", "validation_accuracy"), ("recall", "validation_recall"))
        if name in row
    ]
    return ", ".join(parts)
