"""What a validation comes to: whether the model may be used on this device, and why not.

Each thing that is examined is a `Check`. The verdict follows from the checks alone: nothing that
failed is outweighed, and what was not examined is never good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["may be used", "may be used with reservations", "may not be used"]
State = Literal["passed", "failed", "warning", "not examined"]

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
class Check:
    """One thing that decides on the use of a model.

    Attributes:
        name: of what is examined.
        state: how it came out. A warning is a finding that proves less without being wrong.
        text: the finding, as a part of a sentence; of what was not examined, why.
    """

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Verdict:
    """The outcome.

    Attributes:
        outcome: ``"may be used"``: every check was made and passed. ``"may be used with
            reservations"``: none failed, but one warns or was not made. ``"may not be used"``: a
            check failed.
        sentence: it, with its reasons.
        failures: of the checks that failed, in parts of a sentence.
        reservations: of those that warn or were not made, likewise.
    """

    outcome: Outcome
    sentence: str
    failures: tuple[str, ...]
    reservations: tuple[str, ...]


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


def judge(summary: str, checks: Sequence[Check]) -> Verdict:
    """Return the verdict.

    Args:
        summary: what was measured, as a sentence without its full stop.
        checks: all that there is to examine; at least one.

    Raises:
        ValueError: no checks.
    """
    if not checks:
        raise ValueError("nothing was examined")
    failures = tuple(check.text for check in checks if check.state == "failed")
    missed = [f"{check.name} ({check.text})" for check in checks if check.state == "not examined"]
    reservations = [check.text for check in checks if check.state == "warning"]
    reservations += [f"not examined: {', '.join(missed)}"] if missed else []
    outcome: Outcome = "may be used"
    if failures:
        outcome = "may not be used"
    elif not all(check.state == "passed" for check in checks):
        outcome = "may be used with reservations"
    reasons = failures or tuple(reservations)
    because = f", {'because' if failures else 'but'} {'; '.join(reasons)}" if reasons else ""
    return Verdict(outcome, f"{summary}{because}.", failures, tuple(reservations))
