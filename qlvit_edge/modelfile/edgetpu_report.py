"""A forecast for the Edge TPU as `inspect --edgetpu` prints it or writes it as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from qlvit_edge.modelfile.edgetpu import PARAMETER_BYTES, SRAM_BYTES
from qlvit_edge.modelfile.edgetpu_forecast import (
    ANOTHER_PARTITION,
    COMPILED_ALREADY,
    FORECAST_ONLY,
    Forecast,
)
from qlvit_edge.modelfile.summary import display_name
from qlvit_edge.text import counted

_REASONS = 3
"""How many reasons are named first."""


@dataclass(frozen=True)
class OperatorForecast:
    """One operator.

    Attributes:
        name: of its kind.
        mapped: whether it breaks no rule by itself.
        reason: the rule it breaks; None if none.
        remark: what makes that doubtful; None if nothing does.
        monolithic: what becomes of it when the file is compiled as one, in words.
        macs: of one inference.
    """

    name: str
    mapped: bool
    reason: str | None
    remark: str | None
    monolithic: str
    macs: int


@dataclass(frozen=True)
class OperatorKind:
    """Operators of one kind that fare alike.

    Attributes:
        name: of the kind.
        status: what becomes of them when the file is compiled as one, in words.
        remark: what makes that doubtful; None if nothing does.
        count: how many.
    """

    name: str
    status: str
    remark: str | None
    count: int


@dataclass(frozen=True)
class MappedShare:
    """The operators that break no rule by themselves.

    Attributes:
        operators: how many.
        macs: of one inference.
        share: of all MACs, 0 to 1.
    """

    operators: int
    macs: int
    share: float


@dataclass(frozen=True)
class MonolithicShare(MappedShare):
    """The operators on the Edge TPU when the file is compiled as one.

    Attributes:
        parameter_bytes: weights and biases of them.
        first_on_cpu: kind of the first operator that is left to the CPU; None if none is.
    """

    parameter_bytes: int
    first_on_cpu: str | None


@dataclass(frozen=True)
class ForecastReport:
    """What an Edge TPU would run of a file; `asdict` of it is JSON.

    Attributes:
        answer: the finding in one sentence.
        why: what keeps the operators on the CPU there, those of most MACs first; empty if none
            is kept.
        note: what kind of statement this is.
        compiled: whether the file is compiled already.
        operators_on_cpu: when the file is compiled as one.
        operators: in execution order.
        kinds: those that fare alike, counted.
        total_macs: of one inference.
        mapped: what breaks no rule by itself.
        monolithic: what runs there when the file is compiled as one.
        parameter_bytes: weights and biases of what keeps the rules.
        sram_bytes: on-chip memory.
        parameter_room_bytes: least and most of it that is left for parameters.
        parameters: whether they fit, in words.
        subgraphs: graphs in the file; the compiler takes files of one.
    """

    answer: str
    why: str
    note: str
    compiled: bool
    operators_on_cpu: int
    operators: tuple[OperatorForecast, ...]
    kinds: tuple[OperatorKind, ...]
    total_macs: int
    mapped: MappedShare
    monolithic: MonolithicShare
    parameter_bytes: int
    sram_bytes: int
    parameter_room_bytes: tuple[int, ...]
    parameters: str
    subgraphs: int


def report_forecast(found: Forecast) -> ForecastReport:
    """Put a forecast into the words and counts of its report."""
    total = found.total_macs
    possible, whole = found.macs(partition=False), found.macs(partition=True)
    left = [index for index, on_tpu in enumerate(found.mapped) if not on_tpu]
    pairs = zip(found.operators, found.reasons, found.remarks, strict=True)
    return ForecastReport(
        answer=found.answer,
        why="" if found.compiled else _why(found),
        note=COMPILED_ALREADY if found.compiled else FORECAST_ONLY,
        compiled=found.compiled,
        operators_on_cpu=len(left),
        operators=tuple(
            OperatorForecast(
                name=display_name(operator),
                mapped=reason is None,
                reason=reason,
                remark=doubt,
                monolithic=found.status(index),
                macs=operator.macs,
            )
            for index, (operator, reason, doubt) in enumerate(pairs)
        ),
        kinds=_kinds(found),
        total_macs=total,
        mapped=MappedShare(
            operators=sum(reason is None for reason in found.reasons),
            macs=possible,
            share=possible / total if total else 0.0,
        ),
        monolithic=MonolithicShare(
            operators=found.partition,
            macs=whole,
            share=whole / total if total else 0.0,
            parameter_bytes=found.partition_bytes,
            first_on_cpu=display_name(found.operators[left[0]]) if left else None,
        ),
        parameter_bytes=found.parameter_bytes,
        sram_bytes=SRAM_BYTES,
        parameter_room_bytes=tuple(int(size) for size in PARAMETER_BYTES),
        parameters=found.fits,
        subgraphs=found.subgraphs,
    )


def _why(found: Forecast) -> str:
    """Return the reasons of what stays on the CPU, the weightiest first, a few of them."""
    weights: dict[tuple[str, str], list[int]] = {}
    for index, operator in enumerate(found.operators):
        if not found.mapped[index]:
            reason = found.reasons[index] or ANOTHER_PARTITION
            # Behind a first reason all follow: they are one, whatever kind they are.
            name = "operator" if found.reasons[index] is None else display_name(operator)
            weight = weights.setdefault((name, reason), [0, 0])
            weight[0] += operator.macs
            weight[1] += 1
    ordered = sorted(weights.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    words = [
        f"{counted(count, name) if name == 'operator' else f'{count} {name}'} ({reason}"
        + (f"; {macs / found.total_macs:.1%} of the MACs)" if macs else ")")
        for (name, reason), (macs, count) in ordered[:_REASONS]
    ]
    more = len(ordered) - _REASONS
    return ", ".join(words) + (f", and {counted(more, 'more reason')}" if more > 0 else "")


def _kinds(found: Forecast) -> tuple[OperatorKind, ...]:
    counts = Counter(
        (
            display_name(operator),
            found.status(index),
            found.remarks[index] if found.mapped[index] else None,
        )
        for index, operator in enumerate(found.operators)
    )
    ordered = sorted(counts.items(), key=lambda item: tuple(map(str, item[0])))
    return tuple(
        OperatorKind(name, status, doubt, count) for (name, status, doubt), count in ordered
    )
