"""Kill processes of runs at random moments, and see whether anything that was stored is lost.

    python benchmarks/kills.py [--kills 200] [--seed 0] [--victims main,child] [--folder DIR]

Runs add to one results file, one after another, on a simulated camera, while a reader follows the
file; what it could read is stored. At a random moment, from the start of the process or from its
first stored frame on, one process gets SIGKILL: the main one, or one of its children. After every
kill: SQLite's integrity check, every row that was ever read is there as it was, and

- after a kill of the main process: its children end; the next run begins in the same file;
- after one of a child: another child and a frame stored after the kill, or how the run ended.

Moments follow from the seed; what a process was doing then does not. Exits 1 where a row was lost,
the file was damaged, a process was left over, or a run or child did not come back in time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from observed_run import ObservedRun, Reader, integrity, table

from qlvit_edge import bundled
from qlvit_edge.measuring.machine import describe_machine

BACK_SECONDS = 3.0
"""A child that was killed is back within this time."""

GIVE_UP_SECONDS = 30.0
"""What has not happened by then does not happen."""

EARLY_SHARE, EARLY_SECONDS, LATE_SECONDS = 0.25, 1.5, 2.0
"""Share of the moments counted from the process's start, within so many seconds; the others from
the first stored frame, within so many."""

_ROW = (
    "SELECT id, run_id, number, timestamp, (SELECT group_concat(label || ' ' || probability || ' ' "
    "|| verdict || ' ' || x || ' ' || y, ';') FROM (SELECT * FROM cells WHERE frame_id = frames.id "
    "ORDER BY id)) FROM frames WHERE id > ? ORDER BY id"
)


@dataclass
class Tally:
    """What came of the kills.

    Attributes:
        kills: by victim.
        stored: digests of the rows that were read, by the frame's id.
        lost: frames that were read once and are not there, or not as they were.
        damaged: what integrity checks found.
        left_over: children that outlived their main process by more than `BACK_SECONDS`.
        gone_after: seconds from a kill of the main process until its children were gone.
        back_after: seconds from a kill of a child until a frame was stored by another one.
        endings: of runs whose child was killed and did not come back, by exit code.
        stops: exit codes of runs that were asked to stop after their child had come back.
        early: kills before the run's first frame was stored.
    """

    kills: Counter[str] = field(default_factory=Counter)
    stored: dict[int, str] = field(default_factory=dict)
    lost: int = 0
    damaged: list[str] = field(default_factory=list)
    left_over: int = 0
    gone_after: list[float] = field(default_factory=list)
    back_after: list[float] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    stops: Counter[int] = field(default_factory=Counter)
    early: int = 0

    @property
    def holds(self) -> bool:
        """Whether everything is as it should be."""
        slow = any(seconds > BACK_SECONDS for seconds in (*self.back_after, *self.gone_after))
        wrong = self.lost or self.damaged or self.left_over or self.endings
        return not (wrong or slow or any(self.stops))


def digests(path: Path, after: int) -> dict[int, str]:
    """Return what is stored of frames of higher ids: id → digest of its row and its cells."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'cells'").fetchone():
            return {}
        rows = connection.execute(_ROW, (after,)).fetchall()
    return {row[0]: hashlib.sha256(repr(row).encode()).hexdigest() for row in rows}


class Kills:
    """Runs that are killed, one after another."""

    def __init__(self, folder: Path, source: str, victims: list[str], seed: int) -> None:
        self._out, self._source, self._victims = folder / "kills.sqlite", source, victims
        self._chance = random.Random(seed)
        self.tally = Tally()

    def once(self, model: str = "blood-nano") -> None:
        """Start a run, kill one of its processes, and check what is left."""
        victim = self._chance.choice(self._victims)
        early = self._chance.random() < EARLY_SHARE
        pause = self._chance.random() * (EARLY_SECONDS if early else LATE_SECONDS)
        before = max(self.tally.stored, default=0)
        reader = Reader(self._out, before)
        with ObservedRun(self._out, "--camera", self._source, model=model) as run:
            if not early and not self._follow(run, reader, GIVE_UP_SECONDS, until_first=True):
                self.tally.endings[f"did not begin: {run.said()[-200:]}"] += 1
            self._follow(run, reader, pause)
            if run.goes_on:
                self.tally.kills[victim] += 1
                self.tally.early += reader.last == before
                if victim == "main":
                    self._kill_main(run)
                else:
                    self._kill_child(run, reader, before)
        reader.close()
        self._check()

    def _follow(
        self, run: ObservedRun, reader: Reader, seconds: float, *, until_first: bool = False
    ) -> bool:
        """Read along for so long; returns whether a frame was stored meanwhile."""
        until, found = time.monotonic() + seconds, False
        while time.monotonic() < until and run.goes_on:
            known = max(self.tally.stored, default=0)
            if reader.new():
                self.tally.stored |= digests(self._out, known)
                found = True
                if until_first:
                    break
            time.sleep(0.01)
        return found

    def _kill_main(self, run: ObservedRun) -> None:
        children = run.children()
        run.process.kill()
        run.process.wait()
        killed = time.monotonic()
        while any(_lives(pid) for pid in children):
            if time.monotonic() - killed > BACK_SECONDS:
                self.tally.left_over += 1
                for pid in filter(_lives, children):
                    os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.005)
        self.tally.gone_after.append(time.monotonic() - killed)

    def _kill_child(self, run: ObservedRun, reader: Reader, before: int) -> None:
        until = time.monotonic() + GIVE_UP_SECONDS
        while not (children := run.children()) and run.goes_on and time.monotonic() < until:
            time.sleep(0.005)
        victim = self._chance.choice(children) if children else None
        if victim is None:
            return
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        killed, wall = time.monotonic(), time.time()
        while run.goes_on and time.monotonic() - killed < GIVE_UP_SECONDS:
            known = max(self.tally.stored, default=0)
            fresh = reader.new()
            if fresh:
                self.tally.stored |= digests(self._out, known)
            # Taken after the kill and with cells: another child has answered.
            if any(frame.taken > wall and frame.cells for frame in fresh):
                self.tally.back_after.append(time.monotonic() - killed)
                self.tally.stops[run.stop()] += 1
                return
            time.sleep(0.005)
        code = run.process.poll()
        how = "no frame came" if code is None else f"exit code {code}"
        begun = reader.last != before
        self.tally.endings[how if begun else f"{how}, before its first frame"] += 1

    def _check(self) -> None:
        if not self._out.exists():
            return
        if found := integrity(self._out):
            self.tally.damaged.append(found)
        there = digests(self._out, 0)
        self.tally.lost += sum(there.get(key) != text for key, text in self.tally.stored.items())
        self.tally.stored = there


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def report(tally: Tally) -> str:
    """Return the table."""

    def times(seconds: list[float]) -> str:
        if not seconds:
            return "none"
        return f"{statistics.median(seconds):.2f} s ({max(seconds):.2f} s)"

    rows = [
        ["kills of the main process", str(tally.kills["main"])],
        ["kills of a child", str(tally.kills["child"])],
        ["… before the run's first frame was stored", str(tally.early)],
        ["frames stored", str(len(tally.stored))],
        ["frames read and lost or changed", str(tally.lost)],
        ["files damaged", str(len(tally.damaged))],
        ["children left over after 3 s", str(tally.left_over)],
        ["main killed: children gone, median (most)", times(tally.gone_after)],
        ["child killed: next frame stored, median (most)", times(tally.back_after)],
        ["… later than 3 s", str(sum(s > BACK_SECONDS for s in tally.back_after))],
        ["… stopped cleanly afterwards", f"{tally.stops[0]} of {tally.stops.total()}"],
    ]
    rows += [[f"… run ended: {how}", str(count)] for how, count in tally.endings.items()]
    return table(["", "count"], rows)


def main() -> int:
    """Kill, print the table and tell whether all is as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", default="main,child", help="main, child or both")
    parser.add_argument("--folder", type=Path, help="for the results file; a temporary one if none")
    parser.add_argument("--model", default="blood-nano")
    options = parser.parse_args()
    victims = options.victims.split(",")
    if not set(victims) <= {"main", "child"}:
        parser.error("--victims are main, child or main,child")
    fields = Path(bundled.__file__).parent / "fields"
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source = f"simulated:{fields}?seed={options.seed}&fps=20&size=320x240"
        kills = Kills(Path(name), source, victims, options.seed)
        for _ in range(options.kills):
            kills.once(options.model)
    print(f"{machine.words}; Python {machine.python}; SQLite {sqlite3.sqlite_version}\n")
    print(report(kills.tally))
    return 0 if kills.tally.holds else 1


if __name__ == "__main__":
    sys.exit(main())
