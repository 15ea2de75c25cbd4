"""Many frames in one run: does memory grow, and can other programs at the results file stop it?

    python benchmarks/soak.py [--frames 3000] [--stage motor] [--size 160x120] [--page]
        [--csv FILE] [--svg FILE]

    python benchmarks/soak.py --frames 100000 --csv soak.csv --svg soak.svg

A simulated camera gives small frames of the bundled fields as fast as they are taken: every frame
is another one (the stage moves, drifts and shakes, focus and lamp swing, the sensor is noisy), and
goes through the whole chain of a run: search, model, storing. What differs from a lab is that the
nine fields come again and again, and that frames are small. ``--stage hand`` moves the stage over
one slide and counts its cells once.

Meanwhile another connection keeps an old state of the results file open, a new one every
`HELD_SECONDS`, and every `LOCK_EVERY` seconds a third one locks the file for `LOCK_SECONDS`.

Growth is the median memory over the last tenth of the frames less that over the first tenth after
the first thousand. It is judged by the memory that is no file's: PSS also changes when other
programs that map the same libraries begin or end. Exits 1 above the limit, or where the run did not
store every frame.
"""

from __future__ import annotations

import argparse
import csv
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from observed_run import ObservedRun, Reader, held, quantile, table

from qlvit_edge import bundled
from qlvit_edge.measuring.machine import describe_machine

LIMIT_MB = 5.0
"""Growth at most, in MB, after the first `WARM_UP` frames."""

WARM_UP = 1000
HELD_SECONDS = 5.0
LOCK_EVERY, LOCK_SECONDS = 20.0, 2.0


@dataclass(frozen=True)
class Sample:
    """Memory of all processes of the run at a time.

    Attributes:
        seconds: since it was started.
        frames: stored until then.
        pss: MB.
        anonymous: the part of it that is no file's.
        log: MB of the results file's write-ahead log.
    """

    seconds: float
    frames: int
    pss: float
    anonymous: float
    log: float


class Neighbours:
    """Other programs at a results file: one that reads an old state, one that locks.

    Attributes:
        locks: how often the file was locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = self._writer = None
        self._renew = self._lock = self._free = 0.0
        self.locks = 0

    def go_on(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now >= self._renew and self._path.exists():
            self._renew = now + HELD_SECONDS
            _let_go(self._reader)
            self._reader = _connected(self._path, "BEGIN", "SELECT count(*) FROM frames")
            self._lock = self._lock or now + LOCK_EVERY
        if self._writer is not None and now >= self._free:
            _let_go(self._writer)
            self._writer = None
        if self._lock and now >= self._lock:
            self._lock = now + LOCK_EVERY
            self._writer = _connected(self._path, "BEGIN IMMEDIATE")
            self._free = now + LOCK_SECONDS
            self.locks += self._writer is not None

    def end(self) -> None:
        """Let go of the file."""
        _let_go(self._reader)
        _let_go(self._writer)


def _connected(path: Path, *statements: str) -> sqlite3.Connection | None:
    connection = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement).fetchall()
    except sqlite3.OperationalError:  # not there yet, or the run is storing: next time
        connection.close()
        return None
    return connection


def _let_go(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with suppress(sqlite3.OperationalError):
            connection.execute("ROLLBACK")
        connection.close()


def soaked(
    folder: Path, source: str, frames: int, *, page: bool, model: str
) -> tuple[list[Sample], dict[str, str], bool]:
    """Run once; returns the samples, what else is to be said, and whether all was stored."""
    out = folder / "soak.sqlite"
    arguments = ["--camera", source, "--frames", str(frames)]
    arguments += ["--serve", "127.0.0.1:0"] if page else []
    samples: list[Sample] = []
    cells, pauses, newest = 0, [], 0.0
    with ObservedRun(out, *arguments, model=model) as run:
        reader, neighbours = Reader(out), Neighbours(out)
        stored, every = 0, max(0.2, frames / 100_000)
        due = time.monotonic()
        while run.goes_on:
            fresh = reader.new()
            stored += len(fresh)
            cells += sum(frame.cells for frame in fresh)
            if fresh:
                pauses.append(time.monotonic() - newest if newest else 0.0)
                newest = time.monotonic()
            neighbours.go_on()
            if stored and time.monotonic() >= due:
                due = time.monotonic() + every
                pss, anonymous = held((run.process.pid, *run.children()))
                log = out.with_name(f"{out.name}-wal")
                size = log.stat().st_size / 1e6 if log.exists() else 0.0
                if run.goes_on and pss:
                    samples.append(Sample(time.time() - run.started, stored, pss, anonymous, size))
            time.sleep(0.02)
        stored += len(reader.new())
        reader.close()
        neighbours.end()
        took, code, said = time.time() - run.started, run.process.wait(), run.said()
    if not samples:
        sys.exit(said)
    notes = [line for line in said.splitlines() if "locked" in line or "another program" in line]
    facts = {
        "frames stored": f"{stored} of {frames}",
        "cells": str(cells),
        "seconds (frames/s)": f"{took:.0f} ({stored / took:.0f})",
        "exit code": str(code),
        "locks of the file": f"{neighbours.locks}, {LOCK_SECONDS:g} s each",
        "longest time without a stored frame, s": f"{max(pauses):.1f}",
        "log beside the file, most MB": f"{max(sample.log for sample in samples):.1f}",
        "notes about locks": str(len(notes)),
    }
    return samples, facts, stored == frames and code == 0


def growth(samples: list[Sample], warm_up: int = WARM_UP) -> dict[str, tuple[float, float]]:
    """Return memory after the warm-up and at the end, in MB, of PSS and its anonymous part.

    Raises:
        ValueError: there are no samples after the warm-up.
    """
    later = [sample for sample in samples if sample.frames >= warm_up]
    if len(later) < 2:
        raise ValueError(f"{len(later)} samples after the first {warm_up} frames: ask for more")
    first, last = later[0].frames, later[-1].frames
    tenth = (last - first) / 10
    begin = [sample for sample in later if sample.frames <= first + tenth]
    end = [sample for sample in later if sample.frames >= last - tenth]
    return {
        name: (
            statistics.median(getattr(sample, name) for sample in begin),
            statistics.median(getattr(sample, name) for sample in end),
        )
        for name in ("pss", "anonymous")
    }


def curve(samples: list[Sample], title: str) -> str:
    """Return memory over frames as SVG."""
    width, height, left, below = 720, 300, 60, 40
    frames = max(sample.frames for sample in samples) or 1
    top = 1.1 * max(sample.pss for sample in samples)

    def place(sample: Sample, value: float) -> str:
        x = left + (width - left - 10) * sample.frames / frames
        return f"{x:.1f},{(height - below) * (1 - value / top) + 10:.1f}"

    lines = [
        f'<polyline fill="none" stroke="{colour}" points="'
        + " ".join(place(sample, getattr(sample, name)) for sample in samples)
        + '"/>'
        for name, colour in (("pss", "#1b6ca8"), ("anonymous", "#c2571a"))
    ]
    marks = [
        f'<text x="{left - 6}" y="{(height - below) * (1 - value / top) + 14:.0f}" '
        f'text-anchor="end">{value:.0f}</text>'
        for value in (0.0, top / 2, top)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 20}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height + 20}" fill="white"/>',
            f"<title>{title}</title>",
            *lines,
            *marks,
            f'<text x="{width - 10}" y="{height}" text-anchor="end">{frames:,} frames</text>',
            f'<text x="{left}" y="{height}">MB: PSS (blue), its anonymous part (orange)</text>',
            "</svg>\n",
        ]
    )


def main() -> int:
    """Run, print and tell whether the targets were met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--stage", choices=("motor", "hand"), default="motor")
    parser.add_argument("--size", default="160x120", help="of the frames")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="serve the page meanwhile")
    parser.add_argument("--model", default="blood-nano")
    parser.add_argument("--csv", type=Path, help="write the samples there")
    parser.add_argument("--svg", type=Path, help="draw them there")
    parser.add_argument("--folder", type=Path, help="for the results file; a temporary one if none")
    options = parser.parse_args()
    if options.frames < 2 * WARM_UP:
        parser.error(f"--frames {options.frames}: at least {2 * WARM_UP}")
    fields = Path(bundled.__file__).parent / "fields"
    source = (
        f"simulated:{fields}?seed={options.seed}&fps=0&size={options.size}&stage={options.stage}"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        samples, facts, stored = soaked(
            Path(name), source, options.frames, page=options.page, model=options.model
        )
    found = growth(samples)
    machine = describe_machine()
    print(f"{machine.words}; Python {machine.python}; SQLite {sqlite3.sqlite_version}\n")
    rows = [[name, value] for name, value in facts.items()]
    for name, (begin, end) in found.items():
        rows.append([f"{name}, MB: after {WARM_UP} frames → end", f"{begin:.1f} → {end:.1f}"])
        limit = f" (≤ {LIMIT_MB:g})" if name == "anonymous" else ""
        rows.append([f"{name}: growth, MB", f"{end - begin:+.1f}{limit}"])
    most = quantile([sample.pss for sample in samples], 1.0)
    print(table(["", ""], [*rows, ["pss, most MB", f"{most:.1f}"]]))
    if options.csv is not None:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("seconds", "frames", "pss_mb", "anonymous_mb", "log_mb"))
            writer.writerows(
                (f"{s.seconds:.1f}", s.frames, f"{s.pss:.2f}", f"{s.anonymous:.2f}", f"{s.log:.2f}")
                for s in samples
            )
    if options.svg is not None:
        options.svg.write_text(curve(samples, "Memory of a long run"), encoding="utf-8")
    begin, end = found["anonymous"]
    within = end - begin <= LIMIT_MB
    return 0 if within and stored else 1


if __name__ == "__main__":
    sys.exit(main())
