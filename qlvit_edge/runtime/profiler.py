"""Where the time of a model goes: the runtime's own profile, by operator and by part."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from qlvit_edge.errors import DeviceError
from qlvit_edge.modelfile.document import Document, Operator
from qlvit_edge.modelfile.reader import read_bytes, read_document
from qlvit_edge.runtime.child import run_in_child
from qlvit_edge.runtime.interpreter import Interpreter
from qlvit_edge.runtime.litert_c import DELEGATED, OPERATOR, Event, ProfiledModel
from qlvit_edge.runtime.parts import match, part_of

ROUNDS = 60
WARM_UP = 5
REST = "runtime and unassigned"
"""The whole inference less its operators: kernels report whole microseconds, rounded down."""


def profile_model(path: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """Profile a model on the default kernels with one thread, in a process of its own.

    Means over the faster half of ``rounds`` inferences.

    Returns:
        For JSON: `milliseconds` (a whole inference with the profiler), `rounds`, `parts`
        (most expensive first; `part`, `share` of the whole, `milliseconds`, `operators`,
        `macs`), `operators` (`name` of the output, `operator`, `part`, `kernels`,
        `microseconds`, `macs`) and `unlike_share`: the share of the time that went to
        kernels for which no operator of a fitting kind was found.

    Raises:
        ModelFileError: the file is no model, or the runtime crashed on it.
        DeviceError: the runtime has no profiler that we know.
    """
    content = read_bytes(path)
    document = read_document(content, subject=path)
    parts, whole, runs = run_in_child(path, _run, content, rounds)
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
    parts, _, runs = run_in_child(path, _run, content, 1)
    owners = _owners(document.subgraphs[0].operators, parts, runs[0])
    return [(event, *owner) for event, owner in zip(runs[0], owners, strict=True)]


def _run(content: bytes, rounds: int) -> tuple[list[list[int]], list[int], list[list[Event]]]:
    """In the child: the operators of the delegate's parts, and every round's events."""
    interpreter = Interpreter(content)
    parts = interpreter.delegated
    model = ProfiledModel(
        content,
        (interpreter.input.shape, interpreter.input.dtype.name),
        (interpreter.output.shape, interpreter.output.dtype.name),
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
) -> dict[str, Any]:
    graph = document.subgraphs[0]
    owners = _owners(graph.operators, delegated, events)
    rows: list[dict[str, Any]] = [
        {
            "name": graph.tensors[op.outputs[0]].name if op.outputs else "",
            "operator": op.name,
            "part": part_of(op, graph),
            "kernels": [],
            "microseconds": 0.0,
            "macs": op.macs,
        }
        for op in graph.operators
    ]
    unlike = 0.0
    for event, (number, fits), time in zip(events, owners, times.tolist(), strict=True):
        rows[number]["kernels"].append(event.name)
        rows[number]["microseconds"] += time
        unlike += 0.0 if fits else time
    parts: dict[str, dict[str, Any]] = {
        REST: {"milliseconds": (whole - float(times.sum())) / 1e3, "operators": 0, "macs": 0}
    }
    for row in rows:
        part = parts.setdefault(row["part"], {"milliseconds": 0.0, "operators": 0, "macs": 0})
        part["milliseconds"] += row["microseconds"] / 1e3
        part["operators"] += 1
        part["macs"] += row["macs"]
    listed: list[dict[str, Any]] = [
        {"part": name, "share": 1e3 * facts["milliseconds"] / whole, **facts}
        for name, facts in parts.items()
    ]
    return {
        "milliseconds": whole / 1e3,
        "rounds": rounds,
        "unlike_share": unlike / whole,
        "parts": sorted(listed, key=lambda part: -part["share"]),
        "operators": rows,
    }


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
