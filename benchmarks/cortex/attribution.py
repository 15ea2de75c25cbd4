"""To which operators of the file, and to which parts of the network, instructions belong.

The plugin sees operators begin, in order, but not which ones. The runtime's own profiler names
them on this machine: XNNPACK makes the same operators of a file on x86 and on arm64. Where the
two sequences differ, or the profiler cannot run the file, no operator is named and only kernels
are told apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from record import Record
from symbols import Symbols

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.measuring.litert_c import OPERATOR
from qlvit_edge.measuring.parts import part_of
from qlvit_edge.measuring.profiler import running_order
from qlvit_edge.modelfile.reader import read_document

RUNTIME = "runtime"
"""Between operators: the interpreter, the delegate's parts, setting operators up."""
_KERNEL = re.compile(r"xnn_\w+|tflite::[\w:]+")


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


@dataclass(frozen=True)
class Cost:
    """Sums over shares.

    Attributes:
        instructions: executed in one inference.
        cycles: by the model; 0 where it was not asked for.
    """

    instructions: int
    cycles: float


def attribute(
    model: Path, record: Record, symbols: Symbols, costs: Mapping[bytes, float] | None = None
) -> list[Share]:
    """Return the shares of all operators in the order they ran, the runtime's last.

    Args:
        model: the file that was recorded.
        record: one inference of it.
        symbols: of the runtime's library.
        costs: cycles per block, by its bytes.
    """
    names = _names(model, record)
    shares: list[Share] = []
    rest, rest_cycles = 0, 0.0
    for segment in record.segments:
        spent, cycles = record.instructions(segment), record.cycles(segment, costs or {})
        if segment.kind == "r":
            rest, rest_cycles = rest + spent, rest_cycles + cycles
            continue
        kernel = kernel_of(record.functions(segment, symbols))
        number, name, operator, part = names[len(shares)] if names else (-1, "", kernel, kernel)
        shares.append(Share(number, name, operator, part, kernel, spent, cycles))
    return [*shares, Share(-1, "", RUNTIME, RUNTIME, RUNTIME, rest, rest_cycles)]


def total(shares: list[Share]) -> Cost:
    """Return the cost of the whole inference."""
    return Cost(sum(s.instructions for s in shares), sum(s.cycles for s in shares))


def totals(shares: list[Share], what: Callable[[Share], str]) -> dict[str, Cost]:
    """Return the costs by what `what` says of a share, most expensive first."""
    groups: dict[str, list[Share]] = {}
    for share in shares:
        groups.setdefault(what(share), []).append(share)
    costs = {name: total(group) for name, group in groups.items()}
    return dict(sorted(costs.items(), key=lambda entry: -entry[1].instructions))


def kernel_of(functions: Counter[str]) -> str:
    """Name the function of the library that does most of the work, without its arguments."""
    for name, _ in functions.most_common():
        match = _KERNEL.search(name)
        if match:
            return match[0]
    return "system library"


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
