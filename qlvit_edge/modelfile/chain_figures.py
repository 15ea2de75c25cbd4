"""What a chain's files really hold, beside what `chain.json` says of them.

A description can be written by anyone, so whoever shows figures of a chain takes them from
here: operators, MACs, parameters, borders and what is on which device are counted in the
segments' files, and where the description says otherwise, that is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qlvit_edge.modelfile.chain import Chain
from qlvit_edge.modelfile.chain_description import ChainSegment
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.edgetpu import Device
from qlvit_edge.modelfile.edgetpu_forecast import Forecast, forecast
from qlvit_edge.text import counted


@dataclass(frozen=True)
class SegmentFigures:
    """One segment, counted.

    Attributes:
        operators: how many its file holds.
        mapped_operators: how many of them the Edge TPU would run.
        macs: its multiply-accumulates.
        parameter_bytes: weights and biases inside.
        input_bytes: what goes in.
        output_bytes: what comes out.
    """

    operators: int
    mapped_operators: int
    macs: int
    parameter_bytes: int
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class ChainFigures:
    """A chain, counted.

    Attributes:
        segments: in the order of the description.
        round_trips: segments for the Edge TPU, each a run of it.
        border_bytes: bytes into and out of these.
        tpu_macs_share: share of the multiply-accumulates in these; 1 in a chain without any.
        moved_to_cpu: operators with multiply-accumulates in CPU segments that break no rule,
            by the names of what they make.
        witness_holds: whether the description's proof that fewer round trips are impossible
            stands in its files.
        contradictions: what `chain.json` says otherwise, one sentence each.
    """

    segments: tuple[SegmentFigures, ...]
    round_trips: int
    border_bytes: int
    tpu_macs_share: float
    moved_to_cpu: tuple[str, ...]
    witness_holds: bool
    contradictions: tuple[str, ...]

    @property
    def operators(self) -> int:
        """Operators of all segments."""
        return sum(segment.operators for segment in self.segments)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all segments."""
        return sum(segment.macs for segment in self.segments)

    @property
    def answer(self) -> str:
        """The finding in one sentence."""
        return (
            f"in {counted(len(self.segments), 'segment')}, {self.tpu_macs_share:.1%} of the MACs "
            f"are meant for the Edge TPU, in {counted(self.round_trips, 'run')} of it; "
            f"{self.border_bytes:,} bytes cross to and from it per inference"
        )


_Place = tuple[int, int] | str
"""A tensor of a chain: the name of a border, which crosses segments; else segment and number.

Names of other tensors are anyone's: two segments may use the same one.
"""


@dataclass(frozen=True)
class _Step:
    """An operator of a chain: what it makes, reads, and whether it must run where it does."""

    name: str
    made: tuple[_Place, ...]
    read: tuple[_Place, ...]
    device: Device
    sure: bool
    macs: int

    @property
    def forced(self) -> bool:
        """Whether it could not as well run on the other side."""
        return self.macs > 0 if self.device == "tpu" else not self.sure


def chain_figures(chain: Chain) -> ChainFigures:
    """Count what a chain's segments hold and hold the description against it."""
    devices = [segment.device for segment in chain.description.segments]
    forecasts = [forecast(document) for document in chain.documents]
    segments = tuple(map(_segment, chain.documents, forecasts))
    on_tpu = [found for found, device in zip(segments, devices, strict=True) if device == "tpu"]
    total = sum(found.macs for found in segments)
    steps = [
        step
        for number, found in enumerate(forecasts)
        for step in _steps(number, chain.documents[number], found, devices[number])
    ]
    figures = ChainFigures(
        segments=segments,
        round_trips=len(on_tpu),
        border_bytes=sum(found.input_bytes + found.output_bytes for found in on_tpu),
        tpu_macs_share=sum(found.macs for found in on_tpu) / total if total else 1.0,
        moved_to_cpu=tuple(
            step.name for step in steps if step.device == "cpu" and step.sure and step.macs
        ),
        witness_holds=_proven_round_trips(chain.description.witness, steps) == len(on_tpu),
        contradictions=(),
    )
    return replace(figures, contradictions=tuple(_contradictions(chain, figures)))


def _segment(document: Document, found: Forecast) -> SegmentFigures:
    return SegmentFigures(
        operators=len(found.operators),
        mapped_operators=sum(reason is None for reason in found.reasons),
        macs=found.total_macs,
        parameter_bytes=sum(tensor.nbytes for tensor in document.tensors if tensor.is_constant),
        input_bytes=sum(tensor.nbytes for tensor in document.inputs),
        output_bytes=sum(tensor.nbytes for tensor in document.outputs),
    )


def _steps(number: int, document: Document, found: Forecast, device: Device) -> list[_Step]:
    graph = document.subgraphs[0]
    borders = {*graph.inputs, *graph.outputs}

    def places(tensors: Sequence[int]) -> tuple[_Place, ...]:
        return tuple(
            graph.tensors[tensor].name if tensor in borders else (number, tensor)
            for tensor in tensors
            if tensor >= 0
        )

    return [
        _Step(
            name=next((graph.tensors[out].name for out in operator.outputs if out >= 0), ""),
            made=places(operator.outputs),
            read=places(operator.inputs),
            device=device,
            sure=sure,
            macs=operator.macs,
        )
        for operator, sure in zip(found.operators, found.sure, strict=True)
    ]


def _contradictions(chain: Chain, figures: ChainFigures) -> list[str]:
    """Compare each figure of the description with the one counted."""
    described = chain.description
    findings = []
    for segment, found in zip(described.segments, figures.segments, strict=True):
        findings += _segment_contradictions(segment, found)
    for name, said, made in (
        ("round trips", described.round_trips, figures.round_trips),
        ("bytes to and from the Edge TPU", described.border_bytes, figures.border_bytes),
    ):
        if said != made:
            findings.append(f"it says {said:,} {name}, its files make {made:,}")
    if not math.isclose(described.tpu_macs_share, figures.tpu_macs_share, abs_tol=1e-9):
        findings.append(
            f"it says {described.tpu_macs_share:.1%} of the MACs on the Edge TPU, its files make "
            f"{figures.tpu_macs_share:.1%}"
        )
    if sorted(described.moved_to_cpu) != sorted(figures.moved_to_cpu):
        findings.append(
            f"it lists {counted(len(described.moved_to_cpu), 'operator')} left to the CPU to save "
            f"round trips, which are not the {len(figures.moved_to_cpu)} of its files"
        )
    if not figures.witness_holds:
        findings.append("its proof that fewer round trips are impossible fails in its files")
    return findings


def _segment_contradictions(segment: ChainSegment, made: SegmentFigures) -> list[str]:
    findings = [
        f"it says {said:,} {name} in {segment.file}, which holds {found:,}"
        for name, said, found in (
            ("operators", segment.operators, made.operators),
            ("MACs", segment.macs, made.macs),
            ("bytes of parameters", segment.parameter_bytes, made.parameter_bytes),
        )
        if said != found
    ]
    unmapped = made.operators - made.mapped_operators
    if segment.device == "tpu" and unmapped:
        findings.append(
            f"it puts {segment.file} on the Edge TPU, which runs all but {unmapped} of it"
        )
    return findings


def _proven_round_trips(names: Sequence[str], steps: Sequence[_Step]) -> int | None:
    """Return how many runs of the Edge TPU a path through a chain needs at least.

    Args:
        names: of what the operators on the path make, in order.
        steps: the chain's operators in order of execution.

    Returns:
        None unless they stand on one path, each bound to the other side than the one before.
    """
    numbers = {name: number for number, name in enumerate(names)}
    path: list[_Step] = []
    reached: dict[_Place, int] = {}  # how many of the names stand on one path to a tensor
    for step in steps:
        behind = max((reached.get(place, 0) for place in step.read), default=0)
        if numbers.get(step.name) == len(path) == behind:
            if not step.forced or (path and path[-1].device == step.device):
                return None
            path.append(step)
            behind += 1
        reached.update(dict.fromkeys(step.made, behind))
    if len(path) != len(names):
        return None
    return sum(step.device == "tpu" for step in path)
