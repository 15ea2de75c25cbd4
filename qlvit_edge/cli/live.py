"""What `run` shows: the start, the live counts on a terminal, the summary at the end."""

from __future__ import annotations

import dataclasses
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from qlvit_edge.cli.console import table_console

if TYPE_CHECKING:
    from rich.table import Table

    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.microscope.session import Session, Summary

REFRESH_SECONDS = 0.25


def show_start(classifier: Classifier) -> None:
    """Say on stderr what the model is for and what it does not know."""
    metadata = classifier.metadata
    known = ", ".join(label.lower() for label in metadata.labels)
    unknown = f"; it does not know {', '.join(metadata.unknown_cells)}"
    click.echo(
        f"{metadata.name}: for research use only, not for diagnosis. It tells {known}"
        f"{unknown if metadata.unknown_cells else ''}.",
        err=True,
    )
    if classifier.xnnpack_missing:
        click.echo(
            "warning: XNNPACK runs no part of this model, expect it to be slow; where it should, "
            "check that /sys is visible (it is hidden in a chroot or a hardened service)",
            err=True,
        )


def show_unusual(session: Session) -> None:
    """Say on stderr, in one line, which images were not plain 8-bit RGB."""
    from qlvit_edge.preprocess import note_on

    if session.unusual:
        click.echo(note_on(session.unusual), err=True)


def show_lost(summary: Summary) -> None:
    """Say on stderr which frames or images were left out because they are damaged."""
    if summary.damaged:
        count = f"{len(summary.damaged)} images were" if len(summary.damaged) > 1 else "1 image was"
        click.echo(f"error: {count} damaged and left out:", err=True)
        for name, finding in summary.damaged.items():
            click.echo(f"  {name}: {finding}", err=True)
    elif summary.dropped_frames:
        many = summary.dropped_frames > 1
        count = f"{summary.dropped_frames} frames were" if many else "1 frame was"
        click.echo(f"warning: {count} damaged and left out", err=True)


class LiveView:
    """Counts that are updated in place on a terminal's stderr; nothing elsewhere."""

    def __init__(self, session: Session) -> None:
        from rich.console import Console
        from rich.live import Live

        self._session = session
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next = 0.0

    def __enter__(self) -> Self:
        """Show nothing yet: what does not open needs no more than its error."""
        return self

    def start(self) -> None:
        """Say what the model is for, and start drawing."""
        show_start(self._session.classifier)
        if self._live is not None:
            self._live.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw the last state and leave it on the screen."""
        if self._live is not None and self._live.is_started:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def notice(self, text: str) -> None:
        """Show a line above the counts; from any thread."""
        if self._live is not None and self._live.is_started:
            self._live.console.print(f"note: {text}", markup=False, highlight=False)
        else:
            click.echo(f"note: {text}", err=True)

    def update(self) -> None:
        """Draw, if the last drawing is old enough."""
        if self._live is None or time.monotonic() < self._next:
            return
        self._live.update(self._table(), refresh=True)
        self._next = time.monotonic() + REFRESH_SECONDS

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        session = self._session
        table = Table("frames", "fps", "cells")
        for label in session.counts:
            # A class may be called `[mono]`: a name is a name, not markup.
            table.add_column(Text(label.lower()))
        table.add_column("uncertain")
        seconds = session.times.total()
        table.add_row(
            str(session.frames),
            f"{session.frames / seconds:.1f}" if seconds else "",
            str(session.counts.total()),
            *map(str, session.counts.values()),
            str(session.verdicts["uncertain"]),
        )
        return table


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """Print what came out of a run on stdout."""
    if as_json:
        from qlvit_edge.files import json_text

        click.echo(json_text(dataclasses.asdict(summary)))
        return
    from rich.table import Table
    from rich.text import Text

    title = f"Run {summary.run_id} of {summary.model}: {summary.outcome}"
    table = Table(title=Text(title, style="table.title"))
    table.add_column("cells")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    for label, count in summary.counts.items():
        share = f"{count / summary.cells:.1%}" if summary.cells else ""
        table.add_row(Text(label), str(count), share)
    table.add_section()
    table.add_row("all", str(summary.cells), f"{summary.verdicts['uncertain']} uncertain")
    table_console().print(table)
    work = ", ".join(f"{name} {share:.0%}" for name, share in summary.time_shares.items())
    click.echo(
        f"{lost_in_words(summary)}"
        f"{summary.frames} frames in {summary.seconds:.1f} s "
        f"({summary.frames_per_second:.1f} frames/s); time: {work}\n"
        f"kernels: {summary.runtime}, {summary.kernels}\n"
        f"arithmetic: {summary.arithmetic}\n"
        f"results: {summary.results}, run {summary.run_id}"
    )


def lost_in_words(summary: Summary) -> str:
    """Return a line on cut cells, dropped frames and reconnections, "" without any."""
    counts = (
        (summary.cut, "cell", "cells", "cut by the frame's edge"),
        (summary.dropped_frames, "frame", "frames", "damaged and left out"),
        (summary.reconnections, "reconnection", "reconnections", "to the camera"),
    )
    parts = [
        f"{count} {one if count == 1 else many} {what}"
        for count, one, many, what in counts
        if count
    ]
    return f"{'; '.join(parts)}\n" if parts else ""
