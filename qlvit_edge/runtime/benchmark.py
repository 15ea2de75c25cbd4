"""Latency, start-up, memory and partitions of models, measured side by side.

All rows are loaded at once, each in a process of its own, and take turns: a round lets every
row run a few times, in an order that is rotated from round to round, so that whatever slows
the machine down for a while slows all of them. Ratios are taken within a round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.arena import arena_bytes
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.runtime.machine import temperature
from qlvit_edge.runtime.worker import Case, Worker, bare_peak

REPEATS = 5
"""Timed inferences of a row in one round, after one that is not timed."""

STARTS = 3
"""Fresh processes that start-up and peak memory are the median of."""


class Runner(Protocol):
    """What can take turns: a `Worker`, or another runtime behind the same method."""

    def run(self, times: int) -> list[float]:
        """Run once untimed, then ``times`` times; returns the milliseconds of each."""
        ...


@dataclass(frozen=True)
class Row:
    """What was measured of one case.

    Attributes:
        case: what was run.
        facts: everything that is fixed or measured once: `bytes`, `macs`, `arena_bytes`,
            `constant_bytes`, `kernels_used`, `partitions`, `operators_left`, `start_up_s`,
            `peak_bytes`, `bare_bytes`, `peak_above_bare_bytes` (None where memory is hidden).
        milliseconds: every timed inference, in order.
        ratios: of each round: this row's median time over the first row's.
    """

    case: Case
    facts: dict[str, Any]
    milliseconds: list[float]
    ratios: list[float]

    def summary(self) -> dict[str, Any]:
        """Return the row for JSON: percentiles instead of every time."""
        p50, p90, p99 = (float(np.percentile(self.milliseconds, p)) for p in (50, 90, 99))
        return {
            "model": self.case.model,
            "file": str(self.case.path),
            "threads": self.case.threads,
            "runtime": self.case.runtime,
            "kernels": self.case.kernels,
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "images_per_second": 1e3 / p50,
            "gmacs_per_second": self.facts["macs"] / p50 / 1e6,
            "ratio": {f"p{p}": float(np.percentile(self.ratios, p)) for p in (10, 50, 90)},
            **self.facts,
        }


def measure(
    cases: Sequence[Case],
    rounds: int,
    warmup: int,
    advance: Callable[[], None] = lambda: None,
    repeats: int = REPEATS,
) -> list[Row]:
    """Measure the cases in turns.

    Args:
        cases: at least one; the first is what ratios are relative to.
        rounds: rounds that count.
        warmup: rounds before them that do not.
        advance: called after each of ``rounds + warmup`` rounds.
        repeats: timed inferences of a row in one round.

    Raises:
        ModelFileError: a file is no model, or a runtime refuses it or crashes on it.
        DeviceError: a runtime is not installed.
    """
    documents = {case.path: read_document(case.path) for case in cases}
    bare = {runtime: bare_peak(runtime) for runtime in {case.runtime: 0 for case in cases}}
    facts = [_facts(case, documents[case.path], bare[case.runtime]) for case in cases]
    with ExitStack() as running:
        workers = [running.enter_context(Worker(case)) for case in cases]
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
    for index in range(-warmup, rounds):
        turns = {n: runners[n].run(repeats) for n in _order(len(runners), index)}
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
    machine: dict[str, Any],
    rounds: int,
    warmup: int,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Return the rows with the machine they were measured on, for JSON.

    Args:
        rows: as `measure` returned them just now.
        machine: `describe_machine` from before.
        rounds: of `measure`.
        warmup: of `measure`.
        repeats: of `measure`.

    Returns:
        `machine`, `temperature_after_c`, `rounds`, `repeats`, `warmup`, `rows`.
    """
    return {
        "machine": machine,
        "temperature_after_c": temperature(),
        "rounds": rounds,
        "repeats": repeats,
        "warmup": warmup,
        "rows": [row.summary() for row in rows],
    }


def _facts(case: Case, document: Document, bare: int | None) -> dict[str, Any]:
    """Start a case a few times afresh: how long to the first result, and the memory."""
    if not document.subgraphs[0].operators:
        raise ModelFileError(case.path, "it has no operators", "give a model that computes")
    starts = []
    for _ in range(STARTS):
        with Worker(case) as worker:
            starts.append(worker.first_run)
    peaks = [start.peak_bytes for start in starts if start.peak_bytes is not None]
    peak = int(statistics.median(peaks)) if peaks else None
    return {
        "bytes": document.size,
        "macs": document.macs,
        "arena_bytes": arena_bytes(document.subgraphs[0]),
        "constant_bytes": sum(t.nbytes for t in document.tensors if t.is_constant),
        "kernels_used": starts[0].kernels_used,
        "partitions": starts[0].partitions,
        "operators_left": starts[0].operators_left,
        "start_up_s": statistics.median(start.seconds for start in starts),
        "peak_bytes": peak,
        "bare_bytes": bare,
        "peak_above_bare_bytes": None if peak is None or bare is None else peak - bare,
    }


def _order(count: int, index: int) -> list[int]:
    """Rows in a rotated order, every second round backwards."""
    shift = index % count
    order = [*range(shift, count), *range(shift)]
    return order[::-1] if index % 2 else order
