"""What compiling a file for the Edge TPU would give, worked out from the documented rules.

The compiler makes one partition: from the first operator in execution order that the Edge
TPU does not run, everything is left to the CPU.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from qlvit_edge.modelfile.document import Document, Operator, Subgraph
from qlvit_edge.modelfile.edgetpu import PARAMETER_BYTES, SRAM_BYTES, limitation
from qlvit_edge.modelfile.summary import display_name

AFTER_THE_FIRST = "after the first operator that is not mapped"
FORECAST_ONLY = (
    "a forecast from the documented rules: the compiler is closed and knows further limits"
)


@dataclass(frozen=True)
class Forecast:
    """What a monolithic compile would give.

    Attributes:
        operators: those of the first graph, in execution order.
        reasons: for each, the rule it breaks by itself; None if none.
        partition: operators in the one partition on the Edge TPU.
        parameter_bytes: weights and biases of operators that keep all rules.
        partition_bytes: weights and biases of those in the partition.
        subgraphs: graphs in the file; the compiler takes files of one.
    """

    operators: tuple[Operator, ...]
    reasons: tuple[str | None, ...]
    partition: int
    parameter_bytes: int
    partition_bytes: int
    subgraphs: int

    @property
    def fits(self) -> str:
        """Whether the parameters stay in on-chip memory, in words."""
        least, most = PARAMETER_BYTES
        if self.parameter_bytes <= least:
            return "fit"
        return "may fit" if self.parameter_bytes <= most else "do not fit and are streamed"

    def macs(self, *, partition: bool) -> int:
        """MACs in the one partition, or of all operators that keep the rules."""
        return sum(
            operator.macs
            for index, (operator, reason) in enumerate(
                zip(self.operators, self.reasons, strict=True)
            )
            if (index < self.partition if partition else reason is None)
        )

    @property
    def total_macs(self) -> int:
        """MACs of the graph."""
        return sum(operator.macs for operator in self.operators)

    def status(self, index: int) -> str:
        """Return what becomes of one operator in a monolithic compile, in words."""
        reason = self.reasons[index]
        if index < self.partition:
            return "mapped"
        return f"CPU: {reason or AFTER_THE_FIRST}"


def forecast(document: Document) -> Forecast:
    """Apply the rules to every operator of a file's first graph."""
    graph = document.subgraphs[0]
    reasons = tuple(_reason(graph, operator) for operator in graph.operators)
    stops = [index for index, reason in enumerate(reasons) if reason is not None]
    partition = stops[0] if stops else len(reasons)
    kept = [op for op, reason in zip(graph.operators, reasons, strict=True) if reason is None]
    return Forecast(
        operators=graph.operators,
        reasons=reasons,
        partition=partition,
        parameter_bytes=_parameters(graph, kept),
        partition_bytes=_parameters(graph, graph.operators[:partition]),
        subgraphs=len(document.subgraphs),
    )


def summarise_forecast(found: Forecast) -> dict[str, Any]:
    """Return a forecast as plain values, ready for `json.dumps`."""
    total = found.total_macs
    kinds = Counter(
        (display_name(operator), found.status(index))
        for index, operator in enumerate(found.operators)
    )
    possible = found.macs(partition=False)
    whole = found.macs(partition=True)
    return {
        "note": FORECAST_ONLY,
        "operators": [
            {
                "name": display_name(operator),
                "mapped": reason is None,
                "reason": reason,
                "monolithic": found.status(index),
                "macs": operator.macs,
            }
            for index, (operator, reason) in enumerate(
                zip(found.operators, found.reasons, strict=True)
            )
        ],
        "kinds": [
            {"name": name, "status": status, "count": count}
            for (name, status), count in sorted(kinds.items())
        ],
        "total_macs": total,
        "mapped": {
            "operators": sum(reason is None for reason in found.reasons),
            "macs": possible,
            "share": possible / total if total else 0.0,
        },
        "monolithic": {
            "operators": found.partition,
            "macs": whole,
            "share": whole / total if total else 0.0,
            "parameter_bytes": found.partition_bytes,
            "first_on_cpu": (
                display_name(found.operators[found.partition])
                if found.partition < len(found.operators)
                else None
            ),
        },
        "parameter_bytes": found.parameter_bytes,
        "sram_bytes": SRAM_BYTES,
        "parameter_room_bytes": [int(size) for size in PARAMETER_BYTES],
        "parameters": found.fits,
        "subgraphs": found.subgraphs,
    }


def _reason(graph: Subgraph, operator: Operator) -> str | None:
    return limitation(
        operator,
        [graph.tensors[index] if index >= 0 else None for index in operator.inputs],
        [graph.tensors[index] if index >= 0 else None for index in operator.outputs],
    )


def _parameters(graph: Subgraph, operators: tuple[Operator, ...] | list[Operator]) -> int:
    numbers = {index for operator in operators for index in operator.inputs if index >= 0}
    return sum(graph.tensors[n].nbytes for n in numbers if graph.tensors[n].is_constant)
