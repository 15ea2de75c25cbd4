"""Latency, start-up, memory and partitions of models, measured side by side.

All rows are loaded at once, each in a process of its own, and take turns: a round lets every
row run a few times, in an order that is drawn anew for every round, so that whatever slows the
machine down for a while slows all of them and no row always follows the same one. Ratios are
taken within a round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.arithmetic import arithmetic_of_file
from qlvit_edge.inference.worker import Case, Worker, bare_peak
from qlvit_edge.measuring.machine import Machine
from qlvit_edge.measuring.profiler import Profile
from qlvit_edge.modelfile.arena import arena_bytes
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.sensors import temperature

REPEATS = 5
"""Timed inferences of a row in one round, after one that is not timed."""

ORDER_SEED = 0
"""Of the orders in which rows take turns: every run of the benchmark has the same ones."""

STARTS = 3
"""Fresh processes that start-up and peak memory are the median of."""


class Runner(Protocol):
    """What can take turns: a `Worker`, or another runtime behind the same method."""

    def run(self, times: int) -> list[float]:
        """Run once untimed, then ``times`` times; returns the milliseconds of each."""
        ...


@dataclass(frozen=True)
class Facts:
    """What of a case is fixed or measured once.

    Attributes:
        bytes: size of the file.
        macs: of one inference.
        arena_bytes: memory for the activations, by calculation.
        constant_bytes: of the tensors in the file.
        kernels_used: what really ran, in words.
        arithmetic: what that computes, and whether that is proved on this runtime, in words.
        partitions: parts of the graph that XNNPACK took over.
        operators_left: operators outside them.
        start_up_s: from the start of a process to the end of its first inference.
        peak_bytes: of a process that ran once; None where the system hides it.
        bare_bytes: of a process with the runtime alone; None likewise.
        peak_above_bare_bytes: their difference; None likewise.
    """

    bytes: int
    macs: int
    arena_bytes: int
    constant_bytes: int
    kernels_used: str
    arithmetic: str
    partitions: int
    operators_left: int
    start_up_s: float
    peak_bytes: int | None
    bare_bytes: int | None
    peak_above_bare_bytes: int | None


@dataclass(frozen=True)
class Row:
    """What was measured of one case.

    Attributes:
        case: what was run.
        facts: what is fixed or measured once.
        milliseconds: every timed inference, in order.
        ratios: of each round: this row's median time over the first row's.
    """

    case: Case
    facts: Facts
    milliseconds: list[float]
    ratios: list[float]

    def percentile(self, percent: float) -> float:
        """Milliseconds that so many percent of the inferences stay below."""
        return float(np.percentile(self.milliseconds, percent))

    def ratio(self, percent: float) -> float:
        """Ratio to the first row that so many percent of the rounds stay below."""
        return float(np.percentile(self.ratios, percent))

    @property
    def images_per_second(self) -> float:
        """By the median time."""
        return 1e3 / self.percentile(50)

    @property
    def gmacs_per_second(self) -> float:
        """By the median time."""
        return self.facts.macs / self.percentile(50) / 1e6

    def as_dict(self) -> dict[str, object]:
        """Return the row for JSON: percentiles instead of every time."""
        return {
            "model": self.case.model,
            "file": str(self.case.path),
            "threads": self.case.threads,
            "runtime": self.case.runtime,
            "kernels": self.case.kernels,
            **{f"p{p}_ms": self.percentile(p) for p in (50, 90, 99)},
            "images_per_second": self.images_per_second,
            "gmacs_per_second": self.gmacs_per_second,
            "ratio": {f"p{p}": self.ratio(p) for p in (10, 50, 90)},
            **asdict(self.facts),
        }


@dataclass(frozen=True)
class BenchmarkReport:
    """Rows with the machine they were measured on.

    Attributes:
        machine: it, from before the measurement.
        temperature_after_c: its temperature afterwards; None where it does not tell.
        rounds: that count.
        repeats: timed inferences of a row in one round.
        warmup: rounds before them.
        order_seed: of the orders in which rows took turns.
        rows: one per case.
        profiles: by model, where its time goes; of those that were asked for.
    """

    machine: Machine
    temperature_after_c: float | None
    rounds: int
    repeats: int
    warmup: int
    order_seed: int
    rows: tuple[Row, ...]
    profiles: dict[str, Profile] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {
            "machine": asdict(self.machine),
            "temperature_after_c": self.temperature_after_c,
            "rounds": self.rounds,
            "repeats": self.repeats,
            "warmup": self.warmup,
            "order_seed": self.order_seed,
            "rows": [row.as_dict() for row in self.rows],
            "profiles": {name: asdict(profile) for name, profile in self.profiles.items()},
        }


def measure(
    cases: Sequence[Case],
    rounds: int,
    warmup: int,
    advance: Callable[[], None] = lambda: None,
    repeats: int = REPEATS,
    allowance: Allowance | None = None,
) -> list[Row]:
    """Measure the cases in turns.

    Args:
        cases: at least one; the first is what ratios are relative to.
        rounds: rounds that count.
        warmup: rounds before them that do not.
        advance: called after each of ``rounds + warmup`` rounds.
        repeats: timed inferences of a row in one round.
        allowance: what the files may ask for; the default one where None.

    Raises:
        ModelFileError: a file is no model, or a runtime refuses it or crashes on it.
        DeviceError: a runtime is not installed.
    """
    documents = {case.path: read_document(case.path) for case in cases}
    bare = {runtime: bare_peak(runtime) for runtime in {case.runtime: 0 for case in cases}}
    facts = [_facts(case, documents[case.path], bare[case.runtime], allowance) for case in cases]
    with ExitStack() as running:
        workers = [running.enter_context(Worker(case, allowance)) for case in cases]
        times, ratios = take_turns(workers, rounds, warmup, advance, repeats)
    return [Row(*parts) for parts in zip(cases, facts, times, ratios, strict=True)]


def take_turns(
    runners: Sequence[Runner],
    rounds: int,
    warmup: int,
    advance: Callable[[], None] = lambda: None,
    repeats: int = REPEATS,
) -> tuple[list[list[float]], list[list[float]]]:
    """Let runners take turns, see `measure`.

    Returns:
        For each runner the milliseconds of every timed inference, and for each round the ratio
        of its median to the first runner's.
    """
    times: list[list[float]] = [[] for _ in runners]
    ratios: list[list[float]] = [[] for _ in runners]
    orders = shuffled_orders(len(runners))
    for index in range(-warmup, rounds):
        turns = {n: runners[n].run(repeats) for n in next(orders)}
        advance()
        if index < 0:
            continue
        first = statistics.median(turns[0])
        for number, values in turns.items():
            times[number] += values
            ratios[number].append(statistics.median(values) / first)
    return times, ratios


def report(
    rows: Sequence[Row],
    machine: Machine,
    rounds: int,
    warmup: int,
    profiles: dict[str, Profile] | None = None,
    repeats: int = REPEATS,
) -> BenchmarkReport:
    """Put the rows together with the machine they were measured on.

    Args:
        rows: as `measure` returned them just now.
        machine: `describe_machine` from before.
        rounds: of `measure`.
        warmup: of `measure`.
        profiles: by model, where its time goes.
        repeats: of `measure`.
    """
    return BenchmarkReport(
        machine, temperature(), rounds, repeats, warmup, ORDER_SEED, tuple(rows), profiles or {}
    )


def _facts(case: Case, document: Document, bare: int | None, allowance: Allowance | None) -> Facts:
    """Start a case a few times afresh: how long to the first result, and the memory."""
    if not document.subgraphs[0].operators:
        raise ModelFileError(case.path, "it has no operators", "give a model that computes")
    starts = []
    for _ in range(STARTS):
        with Worker(case, allowance) as worker:
            starts.append(worker.first_run)
    arithmetic = arithmetic_of_file(
        document,
        case.runtime,
        reference=case.kernels == "reference",
        partitions=starts[0].partitions,
    )
    peaks = [start.peak_bytes for start in starts if start.peak_bytes is not None]
    peak = int(statistics.median(peaks)) if peaks else None
    return Facts(
        bytes=document.size,
        macs=document.macs,
        arena_bytes=arena_bytes(document.subgraphs[0]),
        constant_bytes=sum(t.nbytes for t in document.tensors if t.is_constant),
        kernels_used=starts[0].kernels_used,
        arithmetic=str(arithmetic),
        partitions=starts[0].partitions,
        operators_left=starts[0].operators_left,
        start_up_s=statistics.median(start.seconds for start in starts),
        peak_bytes=peak,
        bare_bytes=bare,
        peak_above_bare_bytes=None if peak is None or bare is None else peak - bare,
    )


def shuffled_orders(count: int, seed: int = ORDER_SEED) -> Iterator[list[int]]:
    """Yield the numbers below ``count`` in ever new orders; the same ones for the same seed.

    Shuffled, not rotated: with fixed neighbours the row after the slowest would pay for it.
    """
    rng = np.random.default_rng(seed)
    while True:
        yield rng.permutation(count).tolist()
