"""What `run` shows: the start, the live counts on a terminal, the summary at the end."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from qlvit_edge.cli.console import error_console, next_step, shell_word
from qlvit_edge.cli.count_text import print_differential
from qlvit_edge.cli.guard_text import say_if_unguarded
from qlvit_edge.inference.accelerator import CPU
from qlvit_edge.microscope.losses import IN_WORDS
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.microscope.session import Session
    from qlvit_edge.microscope.summary import Summary

REFRESH_SECONDS = 0.25


def show_start(classifier: Classifier) -> None:
    """Say on stderr what the model is for and what it does not know."""
    metadata = classifier.metadata
    known = ", ".join(label.lower() for label in metadata.labels)
    unknown = f"; it does not know {', '.join(metadata.unknown_cells)}"
    click.echo(
        f"{metadata.name}: for research use only, not for diagnosis. It distinguishes {known}"
        f"{unknown if metadata.unknown_cells else ''}.",
        err=True,
    )
    say_if_unguarded(classifier)
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
        click.echo(note_on(session.unusual, session.classifier.metadata.channels), err=True)


def show_lost(summary: Summary) -> None:
    """Say on stderr which images, and how many frames, were left out, and why."""
    if summary.damaged:
        images = counted(len(summary.damaged), "image")
        are = "is" if len(summary.damaged) == 1 else "are"
        click.echo(f"error: {images} cannot be read and {are} left out:", err=True)
        for name, finding in summary.damaged.items():
            click.echo(f"  {name}: {finding}", err=True)
    elif summary.dropped_frames:
        are = "frame is" if summary.dropped_frames == 1 else "frames are"
        click.echo(f"warning: {summary.dropped_frames:,} {are} damaged and left out", err=True)
    for place, frames in summary.losses.items():
        click.echo(f"warning: {counted(frames, 'frame')} {IN_WORDS[place]}", err=True)
    if summary.accelerator_losses or summary.backends.get(CPU):
        shares = ", ".join(
            f"{counted(n, 'frame')} by the {name}" for name, n in summary.backends.items()
        )
        click.echo(
            "warning: not all was computed on the Edge TPU, which was lost "
            f"{counted(summary.accelerator_losses, 'time')}: {shares}",
            err=True,
        )
    if summary.restarts:
        click.echo(
            f"warning: the model's process was started again {counted(summary.restarts, 'time')}",
            err=True,
        )
    if summary.pictures_stopped is not None:
        click.echo(
            f"warning: {summary.pictures_stopped}; frames after that have no picture", err=True
        )


class LiveView:
    """Counts that are updated in place on a terminal's stderr; nothing elsewhere."""

    def __init__(self, session: Session) -> None:
        from rich.live import Live

        self._session = session
        console = error_console()
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next = 0.0

    def __enter__(self) -> Self:
        """Show nothing yet: what does not open needs no more than its error."""
        return self

    def start(self) -> None:
        """Say what the model is for, and start drawing."""
        with suppress(OSError):  # a terminal that is gone must not end the run
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
            with self._unless_gone():
                self._live.update(self._table(), refresh=True)
            with suppress(OSError):
                self._live.stop()

    def update(self) -> None:
        """Say when enough cells are counted, and draw if the last drawing is old enough."""
        self._ring()
        if self._live is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + REFRESH_SECONDS
        with self._unless_gone():
            self._live.update(self._table(), refresh=True)

    def note(self, text: str) -> None:
        """Say what the user should know, above the counts; any thread may."""
        from rich.text import Text

        with suppress(OSError):
            if self._live is not None and self._live.is_started:
                self._live.console.print(Text(f"note: {text}"))
            else:
                click.echo(f"note: {text}", err=True)

    def _ring(self) -> None:
        """Say that enough cells are counted, and sound a terminal's bell."""
        count = self._session.count
        if count.is_full:
            self.note(
                f"{counted(count.seen, 'cell')} counted, --stop-at {count.stop_at} is reached"
            )
            with suppress(OSError):
                error_console().bell()

    @contextmanager
    def _unless_gone(self) -> Iterator[None]:
        """Draw no more once the terminal is closed: the run goes on without it."""
        try:
            yield
        except OSError:
            self._next = math.inf

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        session = self._session
        slide = None if session.slide is None else session.slide.count()
        table = Table("frames", "fps", "cells", *([] if slide is None else ["unique", "doubtful"]))
        counts, verdicts = session.counts, session.verdicts
        if slide is not None:  # of the cells of the slide, as the summary will have it
            counts = Counter({label: slide.labels.get(label, 0) for label in counts})
            verdicts = Counter({name: slide.verdicts.get(name, 0) for name in verdicts})
        for label in counts:
            # A class may be called `[mono]`: a name is a name, not markup.
            table.add_column(Text(label.lower()))
        rejected = {name: n for name, n in verdicts.items() if name != "accepted"}
        shown = rejected if session.classifier.judges else {"uncertain": rejected["uncertain"]}
        lost = session.losses()
        for name in (*shown, *lost):
            table.add_column(name)
        accelerator = session.computing.accelerator
        if accelerator is not None:
            table.add_column("computed by")
        seconds = session.times.total()
        table.add_row(
            str(session.frames),
            f"{session.frames / seconds:.1f}" if seconds else "",
            str(session.counts.total()),
            *([] if slide is None else [str(slide.unique), str(slide.doubtful)]),
            *map(str, counts.values()),
            *map(str, shown.values()),
            *map(str, lost.values()),
            *([] if accelerator is None else [accelerator.name]),
        )
        return table


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """Print what came out of a run on stdout."""
    if as_json:
        from qlvit_edge.files import json_text

        click.echo(json_text(dataclasses.asdict(summary)))
        return
    title = f"Run {summary.run_id} of {summary.model}: {summary.outcome}"
    print_differential(summary.differential, title)
    work = ", ".join(f"{name} {share:.0%}" for name, share in summary.time_shares.items())
    click.echo(
        f"{slide_in_words(summary)}{lost_in_words(summary)}{unfit_in_words(summary)}"
        f"{census_in_words(summary)}{lengths_in_words(summary)}"
        f"{counted(summary.frames, 'frame')} in {summary.seconds:.1f} s "
        f"({summary.frames_per_second:.1f} frames/s); time: {work}\n"
        f"kernels: {summary.runtime}, {summary.kernels}\n"
        f"arithmetic: {summary.arithmetic}\n"
        f"results: {summary.results}, run {summary.run_id}"
    )
    if summary.statement is not None:
        click.echo(f"images: {summary.statement}")
    if summary.warning is not None:
        click.echo(f"warning: {summary.warning}", err=True)
    query = f"SELECT * FROM cell_list WHERE run = {summary.run_id}"  # noqa: S608 - shown, not run
    next_step(f'sqlite3 -box {shell_word(summary.results)} "{query}"', "its cells")


def slide_in_words(summary: Summary) -> str:
    """Return lines on the cells of the slide, each once; "" where that is not counted."""
    slide = summary.slide
    if slide is None:
        return ""
    beside = [
        f"{count} {what}"
        for count, what in (
            (slide.in_part, "seen only in part"),
            (slide.unplaced, "findings in frames without a place, not counted"),
        )
        if count
    ]
    frames = ", ".join(f"{count} {state}" for state, count in sorted(slide.frames.items()))
    lines = [
        f"each cell once: {slide.unique} unique, {slide.doubtful} doubtful"
        + (f"; {', '.join(beside)}" if beside else "")
    ]
    lines.append(f"slide: {counted(slide.islands, 'island')}; frames: {frames or 'none'}")
    return "".join(f"{line}\n" for line in lines)


def unfit_in_words(summary: Summary) -> str:
    """Return lines on cells and frames that are not fit to be judged, "" without any."""
    lines = [
        f"{counted(sum(found.values()), noun)} not fit to be judged: "
        + ", ".join(f"{count} {reason}" for reason, count in sorted(found.items()))
        for noun, found in (("cell", summary.abstained), ("frame", summary.unfit_frames))
        if found
    ]
    return "".join(f"{line}\n" for line in lines)


def census_in_words(summary: Summary) -> str:
    """Return a line on the cells that were counted by kind, "" where none were."""
    if not summary.census:
        return ""
    counts = ", ".join(f"{count:,} {kind}" for kind, count in summary.census.items())
    ratio, platelets = summary.red_per_white, summary.platelets_per_1000_red
    per = "" if ratio is None else f"; {ratio:.1f} red cells per white cell"
    per += "" if platelets is None else f"; about {platelets:.0f} platelets per 1000 red cells"
    return f"counted (left and upper border left out): {counts}{per}\n"


def lengths_in_words(summary: Summary) -> str:
    """Return lines on the cells' size and where the scale comes from."""
    size = ""
    if summary.cell_diameter is not None:
        size = (
            f"median diameter of a cell: {summary.cell_diameter:.3g} {summary.cell_diameter_unit}\n"
        )
    return f"{size}lengths: {summary.lengths}\n"


def lost_in_words(summary: Summary) -> str:
    """Return a line on cut cells, dropped frames and reconnections, "" without any."""
    parts = [
        f"{counted(count, noun)} {what}"
        for count, noun, what in (
            (summary.cut, "cell", "cut by the frame's edge"),
            (summary.dropped_frames, "frame", "unreadable and left out"),
            (summary.reconnections, "reconnection", "to the camera"),
            (summary.paused_frames, "frame", "left out while paused"),
        )
        if count
    ]
    if summary.paused_seconds:
        parts.append(f"paused for {summary.paused_seconds:.1f} s, which no time below contains")
    return f"{'; '.join(parts)}\n" if parts else ""
