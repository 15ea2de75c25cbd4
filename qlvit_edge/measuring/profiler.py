"""Where the time of a model goes: the runtime's own profile, by operator and by part."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from qlvit_edge.errors import DeviceError
from qlvit_edge.inference.allowance import SLOWEST, Allowance
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.inference.child import run_in_child, run_limited
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.measuring.litert_c import DELEGATED, OPERATOR, Event, ProfiledModel
from qlvit_edge.measuring.parts import match, part_of
from qlvit_edge.modelfile.document import Document, Operator
from qlvit_edge.modelfile.reader import read_bytes, read_document

ROUNDS = 60
WARM_UP = 5
REST = "runtime and unassigned"
"""The whole inference less its operators: kernels report whole microseconds, rounded down."""


@dataclass(frozen=True)
class PartTime:
    """What one part of the network takes.

    Attributes:
        part: its name.
        share: of the whole inference, 0 to 1.
        milliseconds: mean of one inference.
        operators: in it.
        macs: of one inference.
    """

    part: str
    share: float
    milliseconds: float
    operators: int
    macs: int


@dataclass(frozen=True)
class OperatorTime:
    """What one operator takes.

    Attributes:
        name: of its output.
        operator: its kind.
        part: of the network, that it belongs to.
        kernels: those that ran for it.
        microseconds: mean of one inference.
        macs: of one inference.
    """

    name: str
    operator: str
    part: str
    kernels: tuple[str, ...]
    microseconds: float
    macs: int


@dataclass(frozen=True)
class Profile:
    """Where the time of a model goes; `asdict` of it is JSON.

    Attributes:
        milliseconds: a whole inference with the profiler.
        rounds: inferences, of which the faster half counts.
        unlike_share: share of the time that went to kernels for which no operator of a
            fitting kind was found.
        parts: most expensive first.
        operators: in execution order.
    """

    milliseconds: float
    rounds: int
    unlike_share: float
    parts: tuple[PartTime, ...]
    operators: tuple[OperatorTime, ...]


def profile_model(path: Path, rounds: int = ROUNDS, allowance: Allowance | None = None) -> Profile:
    """Profile a model on the default kernels with one thread, in a process of its own.

    Means over the faster half of ``rounds`` inferences.

    Raises:
        ModelFileError: the file is no model, or the runtime crashed on it.
        DeviceError: the runtime has no profiler that we know.
    """
    content = read_bytes(path)
    document = read_document(content, subject=path)
    # Whether it crashes, hangs or takes too much is found out under limits first.
    allowance = allowance or Allowance()
    with open_isolated(content, subject=path, allowance=allowance) as model:
        seconds = allowance.load_seconds + SLOWEST * rounds * model.remote.first_seconds
    memory = 2 * allowance.memory(len(content), 1)  # it is loaded twice
    parts, whole, runs = run_limited(path, memory, seconds, _run, content, rounds, allowance)
    keep = np.argsort(whole, kind="stable")[: max(1, rounds // 2)]
    times = np.asarray([[event.microseconds for event in runs[index]] for index in keep]).mean(0)
    return _shares(
        document, parts, runs[0], times, float(np.mean([whole[i] for i in keep])), rounds
    )


def running_order(path: Path) -> list[tuple[Event, int, bool]]:
    """Return what one inference on the default kernels runs, in order, in a process of its own.

    Returns:
        For each event: itself, the number of its operator in the file, and whether that
        operator is of a fitting kind.

    Raises:
        ModelFileError: the file is no model, or the runtime crashed on it.
        DeviceError: the runtime has no profiler that we know.
    """
    content = read_bytes(path)
    document = read_document(content, subject=path)
    parts, _, runs = run_in_child(path, _run, content, 1, None)
    owners = _owners(document.subgraphs[0].operators, parts, runs[0])
    return [(event, *owner) for event, owner in zip(runs[0], owners, strict=True)]


def _run(
    content: bytes, rounds: int, allowance: Allowance | None
) -> tuple[list[list[int]], list[int], list[list[Event]]]:
    """In the child: the operators of the delegate's parts, and every round's events."""
    interpreter = Interpreter(content, allowance=allowance)
    parts = interpreter.delegated
    model = ProfiledModel(
        content,
        (interpreter.input.shape, interpreter.input.dtype.name),
        [(output.shape, output.dtype.name) for output in interpreter.outputs],
    )
    for _ in range(WARM_UP):
        model.run()
    done = [model.run() for _ in range(rounds)]
    return parts, [whole for whole, _ in done], [events for _, events in done]


def _shares(
    document: Document,
    delegated: list[list[int]],
    events: list[Event],
    times: np.ndarray[Any, np.dtype[np.float64]],
    whole: float,
    rounds: int,
) -> Profile:
    graph = document.subgraphs[0]
    owners = _owners(graph.operators, delegated, events)
    kernels: list[list[str]] = [[] for _ in graph.operators]
    microseconds = [0.0] * len(graph.operators)
    unlike = 0.0
    for event, (number, fits), time in zip(events, owners, times.tolist(), strict=True):
        kernels[number].append(event.name)
        microseconds[number] += time
        unlike += 0.0 if fits else time
    operators = tuple(
        OperatorTime(
            name=graph.tensors[op.outputs[0]].name if op.outputs else "",
            operator=op.name,
            part=part_of(op, graph),
            kernels=tuple(names),
            microseconds=time,
            macs=op.macs,
        )
        for op, names, time in zip(graph.operators, kernels, microseconds, strict=True)
    )
    return Profile(
        milliseconds=whole / 1e3,
        rounds=rounds,
        unlike_share=unlike / whole,
        parts=_parts(operators, whole, whole - float(times.sum())),
        operators=operators,
    )


def _parts(operators: tuple[OperatorTime, ...], whole: float, rest: float) -> tuple[PartTime, ...]:
    """Add the operators up by part; times in microseconds, ``rest`` is no operator's."""
    members: dict[str, list[OperatorTime]] = {}
    for operator in operators:
        members.setdefault(operator.part, []).append(operator)
    parts = [PartTime(REST, rest / whole, rest / 1e3, 0, 0)]
    for name, own in members.items():
        time = sum(operator.microseconds for operator in own)
        macs = sum(operator.macs for operator in own)
        parts.append(PartTime(name, time / whole, time / 1e3, len(own), macs))
    return tuple(sorted(parts, key=lambda part: -part.share))


def _owners(
    operators: tuple[Operator, ...], delegated: list[list[int]], events: list[Event]
) -> list[tuple[int, bool]]:
    """Return for each event the number of its operator, and whether it is of a fitting kind."""
    starts = [
        index for index, event in enumerate(events) if event.kind == DELEGATED and event.index == 0
    ]
    if len(starts) != len(delegated):
        raise DeviceError(
            "profiler",
            f"it shows {len(starts)} delegated parts where the interpreter has {len(delegated)}",
            "leave out --profile",
        )
    owners: dict[int, tuple[int, bool]] = {}
    for members, (start, stop) in zip(delegated, pairwise([*starts, len(events)]), strict=True):
        inside = [i for i in range(start, stop) if events[i].kind == DELEGATED]
        matched = match([events[i].name for i in inside], [operators[j] for j in members])
        for index, (position, fits) in zip(inside, matched, strict=True):
            owners[index] = (members[position], fits)
    for index, event in enumerate(events):
        if event.kind == OPERATOR:
            owners[index] = (event.index, True)
    return [owners[index] for index in range(len(events))]
