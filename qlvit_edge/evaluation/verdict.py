"""What a validation comes to: passed, failed, or a proof of less than was to be proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qlvit_edge.inference.golden import GoldenReport
from qlvit_edge.text import counted

Outcome = Literal["passed", "failed", "reduced proof"]

LATENCY_AT = "p90"
"""The percentile of the latency that a budget is for."""


@dataclass(frozen=True)
class AccuracyGate:
    """The accuracy that was asked for.

    Attributes:
        least: it, 0 to 1.
        passed: whether the accuracy reaches it.
        within_interval: whether it lies inside the accuracy's 95 % interval: other images of
            the same kind could have decided the other way.
    """

    least: float
    passed: bool
    within_interval: bool


@dataclass(frozen=True)
class LatencyGate:
    """The latency that was allowed.

    Attributes:
        most_ms: it, in milliseconds.
        at: the percentile that is compared.
        found_ms: its value; None where nothing was timed.
        passed: whether it is within the budget.
    """

    most_ms: float
    at: str
    found_ms: float | None
    passed: bool


@dataclass(frozen=True)
class Gates:
    """What was asked for; None is what was not."""

    accuracy: AccuracyGate | None = None
    latency: LatencyGate | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome.

    Attributes:
        outcome: ``"passed"``: every check passed, on the whole test side of the split that the
            model was trained with. ``"reduced proof"``: every check passed, but the images or
            the kernels prove less than that. ``"failed"``: a check did not pass.
        sentence: it, with its reasons.
        failures: checks that did not pass, in parts of a sentence.
        reductions: why it proves less, likewise.
    """

    outcome: Outcome
    sentence: str
    failures: tuple[str, ...]
    reductions: tuple[str, ...]


def accuracy_gate(
    least: float | None, accuracy: float, interval: tuple[float, float]
) -> AccuracyGate | None:
    """Compare an accuracy with what was asked for; all of them 0 to 1."""
    if least is None:
        return None
    return AccuracyGate(least, accuracy >= least, interval[0] < least <= interval[1])


def latency_gate(most_ms: float | None, latency_ms: dict[str, float] | None) -> LatencyGate | None:
    """Compare the latency with its budget; without any timed inference it is not kept."""
    if most_ms is None:
        return None
    found = None if latency_ms is None else latency_ms[LATENCY_AT]
    return LatencyGate(most_ms, LATENCY_AT, found, found is not None and found <= most_ms)


def judge(
    summary: str,
    gates: Gates,
    *,
    accuracy: float,
    golden: GoldenReport,
    damaged: int,
    reductions: Sequence[str],
) -> Verdict:
    """Return the verdict.

    Args:
        summary: what was measured, as a sentence without its full stop.
        gates: with their outcomes.
        accuracy: 0 to 1.
        golden: how the golden pairs came out.
        damaged: images that could not be read.
        reductions: why the images prove less than a whole test side.
    """
    failures = tuple(_failures(gates, accuracy, golden, damaged))
    less = list(reductions)
    if golden.passed is None:
        less.append(f"no golden pair decides: {golden.reason}")
    outcome: Outcome = "failed" if failures else "reduced proof" if less else "passed"
    reasons = failures or tuple(less)
    because = f", {'because' if failures else 'but'} {'; '.join(reasons)}" if reasons else ""
    return Verdict(outcome, f"{summary}{because}.", failures, tuple(less))


def _failures(gates: Gates, accuracy: float, golden: GoldenReport, damaged: int) -> list[str]:
    failures = []
    if gates.accuracy is not None and not gates.accuracy.passed:
        failures.append(f"accuracy {accuracy:.2%} is below the gate of {gates.accuracy.least:.2%}")
    latency = gates.latency
    if latency is not None and not latency.passed:
        found = "nothing was timed" if latency.found_ms is None else f"{latency.found_ms:.2f} ms"
        failures.append(
            f"latency {latency.at} ({found}) is above the budget of {latency.most_ms:g} ms"
        )
    if golden.failure is not None:
        failures.append(golden.failure)
    if damaged:
        failures.append(f"{counted(damaged, 'image')} could not be read")
    return failures
