"""A `qlvit-edge run` in a process of its own, watched from outside as any other program could.

Shared by `pipeline.py`, `soak.py` and `kills.py`. What is stored is what another connection sees
in the results file; memory is what the system says of the run's processes. It imports nothing
large: what this process maps would be shared with the run, and make the run look smaller.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from qlvit_edge.quiet import memory_file

PROGRAM = ("-P", "-c", "from qlvit_edge.cli import main; main()")
TICK = os.sysconf("SC_CLK_TCK")

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ (\S+) (\d+)")


@dataclass(frozen=True)
class Seen:
    """A frame that a reader found in the results file.

    Attributes:
        frame: its row's id.
        number: its number in the run.
        taken: when it was taken, seconds since 1970.
        cells: found in it.
        late: seconds from then until it was seen here.
    """

    frame: int
    number: int
    taken: float
    cells: int
    late: float


class Reader:
    """Another connection to a results file, which asks for what is new.

    Attributes:
        last: id of the newest frame that it has seen.
    """

    def __init__(self, path: Path, last: int = 0) -> None:
        self._path, self.last = path, last
        self._connection: sqlite3.Connection | None = None

    def new(self) -> list[Seen]:
        """Return the frames stored since it last asked; none while there is no file."""
        try:
            if self._connection is None:
                uri = f"{self._path.as_uri()}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5)
            rows = self._connection.execute(
                "SELECT id, number, timestamp, (SELECT count(*) FROM cells WHERE frame_id = "
                "frames.id) FROM frames WHERE id > ? ORDER BY id",
                (self.last,),
            ).fetchall()
        except sqlite3.OperationalError:
            self.close()
            return []
        now = time.time()
        self.last = rows[-1][0] if rows else self.last
        return [Seen(*row, late=now - row[2]) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ObservedRun:
    """A run that goes on; ended, if it has not ended itself, when it is left.

    Attributes:
        out: its results file.
        started: when its process was started, seconds since 1970.
        process: its main process.
    """

    def __init__(
        self,
        out: Path,
        *arguments: str,
        program: Sequence[str] = PROGRAM,
        model: str = "blood-nano",
    ) -> None:
        """Start it.

        Args:
            out: its results file.
            arguments: of `qlvit-edge run` after model and results file.
            program: what Python runs.
            model: file or name.
        """
        self.out, self.started = out, time.time()
        # Files, not pipes: nobody has to read along.
        self._closing = ExitStack()
        self._said = self._closing.enter_context(memory_file())
        self._answered = self._closing.enter_context(memory_file())
        command = [sys.executable, *program, "run", model, "--out", str(out), "--json", *arguments]
        self.process = subprocess.Popen(command, stdout=self._answered, stderr=self._said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._closing.close()

    @property
    def goes_on(self) -> bool:
        """Whether its main process is there."""
        return self.process.poll() is None

    def stop(self, seconds: float = 60.0) -> int:
        """Ask it to stop, as Ctrl-C does; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(seconds)

    def summary(self) -> str:
        """Return what it printed on standard output (JSON, once it has ended)."""
        return _content(self._answered)

    def said(self) -> str:
        """Return what it has said on standard error so far."""
        return _content(self._said)

    def children(self) -> list[int]:
        """Return its child processes, and theirs, oldest first."""
        return descendants(self.process.pid)

    def memory(self) -> Memory:
        """Return what its processes hold now."""
        return memory((self.process.pid, *self.children()))

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time of the main process and of its children so far."""
        main = _cpu_seconds(self.process.pid)
        return {"main": main, "children": sum(map(_cpu_seconds, self.children()))}


def descendants(pid: int) -> list[int]:
    """Return the processes below one, oldest first; those that have ended are left out."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    found, fresh = [], {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found += sorted(fresh)
    return found


@dataclass(frozen=True)
class Memory:
    """What processes hold, in MB (10⁶ bytes).

    Attributes:
        pss: sum of their proportional set sizes: pages shared with others count in part.
        alone: what that would be if no other program mapped the same files: private pages, and
            shared ones of a file once (those of the process that holds most of them).
        processes: PSS of each, the main one first.
    """

    pss: float
    alone: float
    processes: tuple[float, ...]


def memory(pids: Sequence[int]) -> Memory:
    """Return what processes hold; those that have ended hold nothing."""
    each, private, shared = [], 0, dict[str, int]()
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
        except OSError:
            continue
        pss, name = 0, ""
        of_file: dict[str, int] = {}
        for line in lines:
            if mapping := _MAPPING.match(line):
                name = "" if mapping[2] == "0" else f"{mapping[1]} {mapping[2]}"
                continue
            key, _, value = line.partition(":")
            if key == "Pss":
                pss += int(value.split()[0])
                if not name:
                    private += int(value.split()[0])
            elif name and key in ("Private_Clean", "Private_Dirty"):
                private += int(value.split()[0])
            elif name and key in ("Shared_Clean", "Shared_Dirty"):
                of_file[name] = of_file.get(name, 0) + int(value.split()[0])
        each.append(pss * 1024 / 1e6)
        for name, held in of_file.items():
            shared[name] = max(held, shared.get(name, 0))
    alone = (private + sum(shared.values())) * 1024 / 1e6
    return Memory(sum(each), alone, tuple(each))


def held(pids: Sequence[int]) -> tuple[float, float]:
    """Return in MB, by the system's own sums, PSS and the part of it that is no file's."""
    total = anonymous = 0
    for pid in pids:
        with suppress(OSError, IndexError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(text.partition("\nPss:")[2].split()[0])
            anonymous += int(text.partition("\nPss_Anon:")[2].split()[0])
    return total * 1024 / 1e6, anonymous * 1024 / 1e6


def integrity(path: Path) -> str:
    """Return what SQLite finds wrong with a file; "" where nothing is."""
    with closing(sqlite3.connect(path)) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    return "" if found == ["ok"] and not broken else f"{found[:3]} {broken[:3]}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table; all columns but the first to the right."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _content(file: BinaryIO) -> str:
    """What a file holds; the place at which the run writes is not moved."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")


def _cpu_seconds(pid: int) -> float:
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    return 0.0
