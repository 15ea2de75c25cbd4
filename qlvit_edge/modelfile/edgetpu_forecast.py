"""What compiling a file for the Edge TPU would give, worked out from rules and dependencies.

The rules of `qlvit_edge.modelfile.edgetpu` say which operators the Edge TPU runs, and
`qlvit_edge.modelfile.edgetpu_partition` which of these end up in the compiler's one partition.
Of a file that is compiled already it is read off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qlvit_edge.modelfile.document import Document, Operator, Subgraph
from qlvit_edge.modelfile.edgetpu import PARAMETER_BYTES, Rule, limitation, remark
from qlvit_edge.modelfile.edgetpu_partition import first_partition
from qlvit_edge.modelfile.operators import EDGETPU_OPERATOR

ANOTHER_PARTITION = "needs an operator on the CPU that needs the Edge TPU: another partition"
LEFT_BY_THE_COMPILER = "left to it when the file was compiled"
FORECAST_ONLY = (
    "a forecast from documents, logs and compiled networks: the compiler is closed and knows "
    "further limits"
)
COMPILED_ALREADY = (
    "read from the file, not forecast: what is inside the Edge TPU's operators is not listed"
)


@dataclass(frozen=True)
class Forecast:
    """What a monolithic compile would give, or gave.

    Attributes:
        operators: those of the first graph, in execution order.
        reasons: for each, the rule it breaks by itself; None if none.
        remarks: for each that breaks none, what makes that doubtful; None if nothing does.
        mapped: for each, whether it is in the one partition on the Edge TPU.
        parameter_bytes: weights and biases of operators that keep all rules.
        partition_bytes: weights and biases of those in the partition.
        subgraphs: graphs in the file; the compiler takes files of one.
        compiled: whether the compiler wrote the file; `mapped` are its own operators then.
    """

    operators: tuple[Operator, ...]
    reasons: tuple[str | None, ...]
    remarks: tuple[str | None, ...]
    mapped: tuple[bool, ...]
    parameter_bytes: int
    partition_bytes: int
    subgraphs: int
    compiled: bool = False

    @property
    def partition(self) -> int:
        """Number of operators in the partition."""
        return sum(self.mapped)

    @property
    def sure(self) -> tuple[bool, ...]:
        """For each operator, whether it breaks no rule and nothing makes that doubtful."""
        pairs = zip(self.reasons, self.remarks, strict=True)
        return tuple(reason is None and doubt is None for reason, doubt in pairs)

    @property
    def fits(self) -> str:
        """Whether the parameters stay in on-chip memory, in words."""
        least, most = PARAMETER_BYTES
        if self.parameter_bytes <= least:
            return "fit"
        return "may fit" if self.parameter_bytes <= most else "do not fit and are streamed"

    def macs(self, *, partition: bool) -> int:
        """MACs in the one partition, or of all operators that keep the rules."""
        counted = self.mapped if partition else [reason is None for reason in self.reasons]
        return sum(op.macs for op, wanted in zip(self.operators, counted, strict=True) if wanted)

    @property
    def total_macs(self) -> int:
        """MACs of the graph."""
        return sum(operator.macs for operator in self.operators)

    def status(self, index: int) -> str:
        """Return what becomes of one operator in a monolithic compile, in words."""
        if self.mapped[index]:
            return "mapped"
        return f"CPU: {self.reasons[index] or ANOTHER_PARTITION}"

    @property
    def answer(self) -> str:
        """The finding in one sentence."""
        count, left = len(self.operators), len(self.operators) - self.partition
        if self.compiled:
            return f"compiled already; {_operator_count(left)} left on the CPU"
        if not self.partition:
            return (
                f"compiled as one file, none of {_operator_count(count)} would run on the Edge TPU"
            )
        share = ""
        if self.total_macs:
            share = f" with {self.macs(partition=True) / self.total_macs:.1%} of the MACs"
        return (
            f"compiled as one file, {self.partition} of {_operator_count(count)}{share} would run "
            f"on the Edge TPU{self._doubtful}; {left or 'none'} left on the CPU"
        )

    @property
    def _doubtful(self) -> str:
        pairs = zip(self.mapped, self.remarks, strict=True)
        count = sum(on_tpu and doubt is not None for on_tpu, doubt in pairs)
        return f", {count} of these in doubt" if count else ""


def forecast(document: Document) -> Forecast:
    """Apply the rules to every operator of a file's first graph, and partition it."""
    graph = document.subgraphs[0]
    operators = graph.operators
    compiled = tuple(op.custom_code == EDGETPU_OPERATOR for op in operators)
    if any(compiled):
        return Forecast(
            operators=operators,
            reasons=tuple(None if own else LEFT_BY_THE_COMPILER for own in compiled),
            remarks=(None,) * len(operators),
            mapped=compiled,
            parameter_bytes=_parameters(graph, compiled),
            partition_bytes=_parameters(graph, compiled),
            subgraphs=len(document.subgraphs),
            compiled=True,
        )
    reasons = tuple(_finding(limitation, graph, operator) for operator in operators)
    fits = tuple(reason is None for reason in reasons)
    mapped = first_partition(_sources(graph), fits)
    return Forecast(
        operators=operators,
        reasons=reasons,
        remarks=tuple(
            _finding(remark, graph, operator) if fit else None
            for operator, fit in zip(operators, fits, strict=True)
        ),
        mapped=mapped,
        parameter_bytes=_parameters(graph, fits),
        partition_bytes=_parameters(graph, mapped),
        subgraphs=len(document.subgraphs),
    )


def _operator_count(count: int) -> str:
    return f"{count} operator{'' if count == 1 else 's'}"


def _sources(graph: Subgraph) -> list[set[int]]:
    """Return for each operator which earlier ones made what it reads."""
    makers: dict[int, int] = {}
    sources = []
    for index, operator in enumerate(graph.operators):
        sources.append({makers[tensor] for tensor in operator.inputs if tensor in makers})
        makers.update((tensor, index) for tensor in operator.outputs if tensor >= 0)
    return sources


def _finding(rule: Rule, graph: Subgraph, operator: Operator) -> str | None:
    """Ask a rule about an operator of a graph."""
    inputs, outputs = (
        [graph.tensors[index] if index >= 0 else None for index in numbers]
        for numbers in (operator.inputs, operator.outputs)
    )
    return rule(operator, inputs, outputs)


def _parameters(graph: Subgraph, counted: Sequence[bool]) -> int:
    """Return the bytes of the constants that the counted operators read."""
    numbers = {
        index
        for operator, wanted in zip(graph.operators, counted, strict=True)
        if wanted
        for index in operator.inputs
        if index >= 0
    }
    return sum(graph.tensors[n].nbytes for n in numbers if graph.tensors[n].is_constant)
