"""`qlvit-edge benchmark`: latency, start-up and memory of models, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.choices import KERNELS, RUNTIMES
from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import Whole, WordList, allowance_options
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.cli.plain_table import PlainTable
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.interpreter import Runtime
    from qlvit_edge.inference.worker import Case
    from qlvit_edge.measuring.benchmark import BenchmarkReport, Row
    from qlvit_edge.measuring.profiler import Profile

_MOST_THREADS = 64


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Numbers of threads, separated by commas."""
    parts = [part.strip() for part in value.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 6 and part.strip("0")):
            raise click.BadParameter(f"{plain(part)!r} is not a number of threads", ctx, param)
        if int(part) > _MOST_THREADS:
            raise click.BadParameter(f"{part} is more than {_MOST_THREADS}", ctx, param)
    return tuple(dict.fromkeys(map(int, parts)))


@click.command("benchmark")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--threads",
    callback=_numbers,
    metavar="LIST",
    default="1",
    show_default=True,
    help="Numbers of threads.",
)
@click.option(
    "--runtime",
    "runtimes",
    type=WordList(RUNTIMES),
    default=RUNTIMES[0],
    show_default=True,
    help="TFLite runtimes that execute the models.",
)
@click.option(
    "--kernels",
    type=WordList(KERNELS),
    default=KERNELS[0],
    show_default=True,
    help="Implementations of the operators.",
)
@click.option(
    "--rounds",
    type=Whole(1),
    default=40,
    show_default=True,
    help="Rounds that count; each runs every row 5 times, in a new order.",
)
@click.option("--warmup", type=Whole(0), default=3, show_default=True, help="Rounds before them.")
@allowance_options
@click.option("--profile", is_flag=True, help="Also show where the time goes, by part.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write as JSON.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw latencies (PNG).")
def command(
    models: tuple[str, ...],
    threads: tuple[int, ...],
    runtimes: tuple[Runtime, ...],
    kernels: tuple[str, ...],
    rounds: int,
    warmup: int,
    profile: bool,
    json_path: Path | None,
    plot: Path | None,
    allowance: Allowance,
) -> None:
    """Measure latency, start-up, memory and delegation of MODELs in one run.

    A MODEL is a .tflite file or the name of a bundled model. Each combination with --threads,
    --runtime and --kernels (lists with commas) is one row. All rows take turns, each in a process
    of its own and in a new order every round, so that whatever slows the device down for a while
    slows all of them; ratios are to the first row, within a round. --profile asks the runtime's
    own profiler, on the default kernels with one thread.

    \b
    Example:
      qlvit-edge benchmark blood-nano other.tflite --threads 1,2 --json speed.json
      qlvit-edge benchmark blood-nano --profile
    """
    if plot is not None:
        require("plots", "matplotlib")
    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.files import ensure_writable, require_target, write_json
    from qlvit_edge.inference.worker import Case
    from qlvit_edge.measuring.benchmark import measure, report
    from qlvit_edge.measuring.machine import describe_machine
    from qlvit_edge.measuring.profiler import profile_model

    for target in filter(None, (json_path, plot)):
        require_target(target)
        ensure_writable(target.absolute().parent)
    models = tuple(dict.fromkeys(models))
    paths = {_name(model, models): resolve_model(model) for model in models}
    cases = [
        Case(name, path, count, runtime, kernel)
        for name, path in paths.items()
        for runtime in runtimes
        for kernel in kernels
        for count in threads
    ]
    machine = describe_machine()
    profiles = {}
    if profile:
        profiles = {name: profile_model(path, allowance=allowance) for name, path in paths.items()}
    with progress_bar("taking turns", warmup + rounds) as advance:
        rows = measure(cases, rounds, warmup, advance, allowance=allowance)
    found = report(rows, machine, rounds, warmup, profiles)
    _print(found)
    if json_path is not None:
        write_json(json_path, found.as_dict())
    if plot is not None:
        from qlvit_edge.evaluation.plots import plot_latencies

        labels = [label_of(case, cases) for case in cases]
        plot_latencies(labels, [row.milliseconds for row in rows], plot)
    next_step(
        f"qlvit-edge validate {shell_word(models[0])} --data FOLDER --out report/",
        "accuracy beside speed",
    )


def _name(model: str, models: Sequence[str]) -> str:
    """Return a file's name without folder and ending, unless another file has the same."""
    names = [Path(other).stem if other.endswith(".tflite") else other for other in models]
    name = names[models.index(model)]
    return name if names.count(name) == 1 else model


def label_of(case: Case, cases: Sequence[Case]) -> str:
    """Return a row's name: the model and whatever differs between the rows."""
    parts = [case.model]
    if len({other.threads for other in cases}) > 1:
        parts.append(counted(case.threads, "thread"))
    if len({other.runtime for other in cases}) > 1:
        parts.append(case.runtime)
    if len({other.kernels for other in cases}) > 1:
        parts.append(case.kernels)
    return ", ".join(parts)


def _print(found: BenchmarkReport) -> None:
    console = table_console()
    console.print(found.machine.words, highlight=False, markup=False)
    if found.temperature_after_c is not None:
        console.print(f"{found.temperature_after_c:.0f} °C afterwards", highlight=False)
    console.print(_latencies(found))
    console.print(_costs(found.rows))
    cases = [row.case for row in found.rows]
    for row in found.rows:
        line = f"{label_of(row.case, cases)}: {row.facts.arithmetic}"
        console.print(line, highlight=False, markup=False)
    for name, profile in found.profiles.items():
        console.print(_profile(name, profile))


def _latencies(found: BenchmarkReport) -> PlainTable:
    title = (
        f"Latency in ms, {counted(found.rounds, 'round')} of {found.repeats}, in an order shuffled "
        f"every round (seed {found.order_seed})"
    )
    table = plain_table(title)
    for heading in ("model", "threads", "kernels"):
        table.add_column(heading, overflow="fold")
    for heading in ("p50", "p90", "p99", "images/s", "ratio", "p10–p90"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        case = row.case
        ran = case.kernels if case.runtime == "litert" else f"{case.runtime} {case.kernels}"
        table.add_row(
            case.model,
            str(case.threads),
            ran,
            *(_three(row.percentile(p)) for p in (50, 90, 99)),
            f"{row.images_per_second:.0f}",
            f"{row.ratio(50):.2f}",
            f"{row.ratio(10):.2f}–{row.ratio(90):.2f}",
        )
    return table


def _costs(rows: Sequence[Row]) -> PlainTable:
    table = plain_table("Cost")
    for heading in ("model", "runs on"):
        table.add_column(heading, overflow="fold")
    for heading in ("start s", "peak MB", "arena MB", "file kB", "MMAC", "GMAC/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        facts = row.facts
        above = facts.peak_above_bare_bytes
        table.add_row(
            row.case.model,
            facts.kernels_used,
            f"{facts.start_up_s:.2f}",
            "unknown" if above is None else f"{above / 1e6:.1f}",
            f"{facts.arena_bytes / 1e6:.2f}",
            f"{facts.bytes / 1e3:.0f}",
            f"{facts.macs / 1e6:.1f}",
            f"{row.gmacs_per_second:.1f}",
        )
    table.caption = "start: to the first result of a fresh process; peak: above the bare runtime"
    return table


def _profile(name: str, profile: Profile) -> PlainTable:
    title = f"Where the time of {name} goes ({profile.milliseconds:.3g} ms with the profiler)"
    table = plain_table(title)
    table.add_column("part")
    for heading in ("share", "ms", "operators", "MMAC"):
        table.add_column(heading, justify="right")
    for part in profile.parts:
        table.add_row(
            part.part,
            f"{part.share:.1%}",
            f"{part.milliseconds:.3f}",
            str(part.operators),
            f"{part.macs / 1e6:.1f}" if part.macs else "",
        )
    return table


def _three(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
