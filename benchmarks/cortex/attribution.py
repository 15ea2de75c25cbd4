"""To which operators of the file, and to which parts of the network, instructions belong.

The plugin sees operators begin, in order, but not which ones. The runtime's own profiler names
them on this machine: XNNPACK makes the same operators of a file on x86 and on arm64, and where
the two sequences differ no operator is named and only kernels are told apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from record import Record, Segment
from symbols import Symbols

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.runtime.litert_c import OPERATOR
from qlvit_edge.runtime.parts import part_of
from qlvit_edge.runtime.profiler import running_order

RUNTIME = "runtime"
"""Between operators: the interpreter, the delegate's parts, setting operators up."""
_KERNEL = re.compile(r"xnn_\w+|tflite::[\w:]+")
_ARGUMENTS = re.compile(r"<.*|\(.*")


@dataclass(frozen=True)
class Share:
    """What one operator of the file, or the runtime, costs.

    Attributes:
        number: of the operator in the file; -1 where it has none.
        name: of its output.
        operator: its kind.
        part: of the network, as `qlvit-edge benchmark --profile` names them.
        kernel: the function with most of the instructions.
        instructions: executed in one inference.
        cycles: by the model of `cycles.py`; 0 where it was not asked for.
    """

    number: int
    name: str
    operator: str
    part: str
    kernel: str
    instructions: int
    cycles: float = 0.0


Cycles = Callable[[Record, Segment], float]


def attribute(
    model: Path, record: Record, symbols: Symbols, cycles: Cycles = lambda *_: 0.0
) -> list[Share]:
    """Return the shares of all operators in the order they ran, the runtime's last."""
    names = _names(model, record)
    shares, rest, rest_cycles, index = [], 0, 0.0, 0
    for segment in record.segments:
        spent, cost = record.instructions(segment), cycles(record, segment)
        if segment.kind == "r":
            rest, rest_cycles = rest + spent, rest_cycles + cost
            continue
        kernel = _kernel(record.functions(segment, symbols))
        number, name, operator, part = names[index] if names else (-1, "", kernel, kernel)
        shares.append(Share(number, name, operator, part, kernel, spent, cost))
        index += 1
    return [*shares, Share(-1, "", RUNTIME, RUNTIME, "", rest, rest_cycles)]


def totals(shares: list[Share], what: Callable[[Share], str]) -> dict[str, tuple[int, float]]:
    """Return instructions and cycles by what `what` says of a share, most expensive first."""
    instructions: Counter[str] = Counter()
    cycles: Counter[str] = Counter()
    for share in shares:
        instructions[what(share)] += share.instructions
        cycles[what(share)] += share.cycles  # type: ignore[assignment]
    return {name: (spent, float(cycles[name])) for name, spent in instructions.most_common()}


def _names(model: Path, record: Record) -> list[tuple[int, str, str, str]]:
    """Return number, output, kind and part for each segment that is an operator, or nothing."""
    graph = read_document(model).subgraphs[0]
    try:
        order = running_order(model)
    except QLViTEdgeError:
        return []
    seen = [segment.kind for segment in record.segments if segment.kind != "r"]
    if seen != ["b" if event.kind == OPERATOR else "o" for event, *_ in order]:
        return []
    found = []
    for _, number, _ in order:
        operator = graph.operators[number]
        name = graph.tensors[operator.outputs[0]].name if operator.outputs else ""
        found.append((number, name, operator.name, part_of(operator, graph)))
    return found


def _kernel(functions: Counter[str]) -> str:
    """Name the function that does the work, without its arguments."""
    for name, _ in functions.most_common():
        match = _KERNEL.search(name)
        if match:
            return _ARGUMENTS.sub("", match[0])
    return "system library"
