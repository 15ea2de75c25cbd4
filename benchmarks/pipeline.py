"""The whole chain of a run, from the camera to the stored row: latency, drops, start, memory.

    python benchmarks/pipeline.py [--frames 900] [--fps 30] [--cells 12] [--size 1280x720]
        [--model blood-nano] [--json FILE]

A simulated camera moves over fields of up to CELLS white cells each (`crowded_fields.py`). The run
is a process of its own; a reader of its results file takes the time at which each frame can be
read there, against the time at which the camera says it was taken. Once without the page, and once
with it and a client that asks for state and picture as the page does, ten times a second. Every
figure stands beside its target; exits 1 where one is missed.

On a machine that does other work, times say nothing; processor time per frame, cells and PSS do.
"""

from __future__ import annotations

import argparse
import http.cookiejar
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from observed_run import ObservedRun, Reader, Seen, descendants, held, quantile, table

from qlvit_edge.measuring.machine import describe_machine

HERE = Path(__file__).parent
ASK_SECONDS = 0.005
MEMORY_SECONDS = 0.5
CLIENT_SECONDS = 0.1

FIRST_RESULT, LATENCY_MS, MEMORY_MB = (
    2.0,
    100.0,
    {"without the page": 180.0, "with the page": 250.0},
)
"""The targets: seconds from the start, milliseconds at the 95th percentile, PSS at most."""


@dataclass(frozen=True)
class Outcome:
    """What came out of one run.

    Attributes:
        frames: stored, of those that were asked for.
        frames_per_second: from the first stored frame's time to the last one's.
        dropped: numbers that are missing between them.
        cells: per frame, on average.
        most_cells: in one frame.
        first_result: seconds from the start of the process until a frame could be read.
        latency_ms: from taken to readable, (median, 95th percentile).
        pss_mb: of all processes, (median, most).
        alone_mb: see `observed_run.Memory`, at the end.
        cpu_ms: processor time per frame in the main process and its children.
        stages: name → calls per frame, and milliseconds of one: median and 95th percentile by the
            clock, mean of the thread's processor time.
        exit_code: of the run.
    """

    frames: int
    frames_per_second: float
    dropped: int
    cells: float
    most_cells: int
    first_result: float
    latency_ms: tuple[float, float]
    pss_mb: tuple[float, float]
    alone_mb: float
    cpu_ms: dict[str, float]
    stages: dict[str, tuple[float, float, float, float]]
    exit_code: int


class Client:
    """A browser's requests, one after another, in a thread of its own."""

    def __init__(self, run: ObservedRun) -> None:
        self._run, self.pictures = run, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(10)

    def _ask(self) -> None:
        address = ""
        while not address and not self._over.wait(CLIENT_SECONDS):
            lines = [line for line in self._run.said().splitlines() if line.startswith("page: ")]
            address = lines[0].split()[1].rstrip("/") if lines else ""
        opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            urllib.request.ProxyHandler({}),
        )
        with suppress(OSError, ValueError):
            opener.open(f"{address}/api/session", timeout=10).read()
        while not self._over.wait(CLIENT_SECONDS):
            with suppress(OSError):
                opener.open(f"{address}/api/state", timeout=10).read()
                with opener.open(f"{address}/api/frame", timeout=10) as answer:
                    self.pictures += bool(answer.read())


def measured(scratch: Path, source: str, frames: int, model: str, *, page: bool) -> Outcome:
    """Run once and return what came out."""
    name = "page" if page else "bare"
    out, times = scratch / f"{name}.sqlite", scratch / f"{name}.json"
    arguments = ["--camera", source, "--frames", str(frames)]
    arguments += ["--serve", "127.0.0.1:0"] if page else []
    program = ("-P", str(HERE / "stage_times.py"), str(times))
    seen: list[Seen] = []
    sums: list[float] = []
    alone, cpu = 0.0, [(0, {"main": 0.0, "children": 0.0})]
    with ObservedRun(out, *arguments, program=program, model=model) as run:
        client = Client(run) if page else None
        reader, due, first = Reader(out), 0.0, float("nan")
        while run.goes_on:
            fresh = reader.new()
            if fresh and not seen:
                first = time.time() - run.started
                cpu = [(0, run.cpu_seconds())]
            seen += fresh
            if seen and time.monotonic() >= due:
                due = time.monotonic() + MEMORY_SECONDS
                sums.append(held((run.process.pid, *descendants(run.process.pid)))[0])
                spent = run.cpu_seconds()
                # A process that has ended took its time with it.
                if all(spent[name] >= cpu[-1][1][name] for name in spent):
                    cpu.append((len(seen), spent))
                if len(seen) > frames // 2 and not alone:
                    alone = run.memory().alone
            time.sleep(ASK_SECONDS)
        # What ends together with the run is seen no later than this.
        seen += reader.new()
        reader.close()
        if client is not None:
            client.end()
        code, said = run.process.wait(), run.said()
    if not seen:
        sys.exit(said)
    return _outcome(seen, sums, alone, cpu, json.loads(times.read_text()), first, code)


def _outcome(
    seen: list[Seen],
    sums: list[float],
    alone: float,
    cpu: list[tuple[int, dict[str, float]]],
    times: dict[str, list[tuple[float, float]]],
    first: float,
    code: int,
) -> Outcome:
    (begun, before), (done, after) = cpu[0], cpu[-1]
    numbers = [frame.number for frame in seen]
    span = seen[-1].taken - seen[0].taken
    late = [1e3 * frame.late for frame in seen]
    stages = {
        name: (
            len(each) / len(seen),
            1e3 * statistics.median(wall for wall, _ in each),
            1e3 * quantile([wall for wall, _ in each], 0.95),
            1e3 * statistics.fmean(processor for _, processor in each),
        )
        for name, each in times.items()
    }
    return Outcome(
        frames=len(seen),
        frames_per_second=(len(seen) - 1) / span if span else float("nan"),
        dropped=max(numbers) + 1 - min(numbers) - len(seen),
        cells=statistics.fmean(frame.cells for frame in seen),
        most_cells=max(frame.cells for frame in seen),
        first_result=first,
        latency_ms=(statistics.median(late), quantile(late, 0.95)),
        pss_mb=(statistics.median(sums), max(sums)),
        alone_mb=alone,
        cpu_ms={name: 1e3 * (after[name] - before[name]) / max(done - begun, 1) for name in before},
        stages=stages,
        exit_code=code,
    )


def report(outcomes: dict[str, Outcome], frames: int, fps: float) -> tuple[str, bool]:
    """Return the tables, and whether every target was met."""
    rows, met = [], True

    def row(name: str, target: str, texts: list[str], holds: list[bool] | None = None) -> None:
        nonlocal met
        reached = "" if holds is None else "met" if all(holds) else "**missed**"
        met = met and (holds is None or all(holds))
        rows.append([name, target, *texts, reached])

    each = list(outcomes.values())
    row(
        "frames stored",
        str(frames),
        [str(outcome.frames) for outcome in each],
        [outcome.frames == frames and outcome.exit_code == 0 for outcome in each],
    )
    row("dropped", "0", [str(o.dropped) for o in each], [o.dropped == 0 for o in each])
    row(
        "frames/s",
        f"{fps:g}",
        [f"{outcome.frames_per_second:.1f}" for outcome in each],
        [outcome.frames_per_second > 0.98 * fps for outcome in each],
    )
    row("cells per frame (most)", "", [f"{o.cells:.1f} ({o.most_cells})" for o in each])
    row(
        "first result, s",
        f"≤ {FIRST_RESULT:g}",
        [f"{outcome.first_result:.2f}" for outcome in each],
        [outcome.first_result <= FIRST_RESULT for outcome in each],
    )
    row("taken → stored, median ms", "", [f"{o.latency_ms[0]:.0f}" for o in each])
    row(
        "… 95th percentile",
        f"≤ {LATENCY_MS:g}",
        [f"{outcome.latency_ms[1]:.0f}" for outcome in each],
        [outcome.latency_ms[1] <= LATENCY_MS for outcome in each],
    )
    limits = [MEMORY_MB[name] for name in outcomes]
    row("PSS of all processes, median MB", "", [f"{o.pss_mb[0]:.0f}" for o in each])
    row(
        "… most",
        " / ".join(f"≤ {limit:g}" for limit in limits),
        [f"{outcome.pss_mb[1]:.0f}" for outcome in each],
        [outcome.pss_mb[1] <= limit for outcome, limit in zip(each, limits, strict=True)],
    )
    row("… if nothing else mapped its libraries", "", [f"{o.alone_mb:.0f}" for o in each])
    for name in each[0].cpu_ms:
        row(f"processor ms per frame, {name}", "", [f"{o.cpu_ms[name]:.1f}" for o in each])
    stages = [
        [
            name,
            *(
                text
                for outcome in each
                for calls, median, high, processor in [outcome.stages.get(name, (0, 0, 0, 0))]
                for text in (f"{calls:.1f}", f"{median:.2f}", f"{high:.2f}", f"{processor:.2f}")
            ),
        ]
        for name in sorted({name for outcome in each for name in outcome.stages})
    ]
    columns = ["times per frame", "median ms", "p95 ms", "processor ms"]
    return (
        table(["", "target", *outcomes, ""], rows)
        + "\n\nStages, of which several go on at a time:\n\n"
        + table(["stage", *(f"{name}: {c}" for name in outcomes for c in columns)], stages)
    ), met


def main() -> int:
    """Measure, print and tell whether the targets were met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=900)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--cells", type=int, default=12, help="most in a field")
    parser.add_argument("--size", default="1280x720", help="of the frames")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated camera")
    parser.add_argument("--model", default="blood-nano")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        fields = scratch / "fields"
        # In a process of its own: this one stays small.
        made = [sys.executable, "-P", str(HERE / "crowded_fields.py"), str(fields)]
        subprocess.run(
            [*made, "--cells", str(options.cells), "--size", options.size],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        source = f"simulated:{fields}?seed={options.seed}&fps={options.fps:g}&size={options.size}"
        outcomes = {
            name: measured(
                scratch, source, options.frames, options.model, page=name == "with the page"
            )
            for name in MEMORY_MB
        }
    text, met = report(outcomes, options.frames, options.fps)
    machine = describe_machine()
    print(f"{machine.words}; Python {machine.python}; {machine.system}\n")
    print(text)
    if options.json is not None:
        figures = {"machine": asdict(machine), **{k: asdict(v) for k, v in outcomes.items()}}
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
