"""A planned graph as segments: one small graph a run, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.converters.edgetpu.plan import Plan
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.rewrites.parts import part
from qlvit_edge.modelfile.edgetpu import Device


@dataclass(frozen=True)
class Segment:
    """One run of the Edge TPU, or what the CPU does between two.

    Attributes:
        name: number and device, e.g. ``03-cpu``.
        device: where it runs.
        graph: its operations; tensors keep their names.
    """

    name: str
    device: Device
    graph: Graph


def cut(graph: Graph, plan: Plan) -> tuple[Segment, ...]:
    """Cut a graph along a plan.

    A segment's inputs are the tensors that it reads and others make; its outputs those that
    others read, or the caller.

    Args:
        graph: the whole graph.
        plan: a level for each of its operations.
    """
    members: dict[int, list[int]] = {}
    for index, level in enumerate(plan.levels):
        members.setdefault(level, []).append(index)
    wanted = {tensor.name for tensor in graph.outputs}
    readers: dict[str, set[int]] = {}
    for operation, level in zip(graph.operations, plan.levels, strict=True):
        for tensor in operation.inputs:
            readers.setdefault(tensor.name, set()).add(level)
    segments = []
    for number, (level, indices) in enumerate(sorted(members.items())):
        operations = [graph.operations[index] for index in indices]
        given = {
            operation.name
            for operation in operations
            if operation.name in wanted or readers.get(operation.name, set()) - {level}
        }
        device: Device = "cpu" if level % 2 else "tpu"
        name = f"{number:02d}-{device}"
        segments.append(Segment(name, device, part(f"{graph.name}/{name}", operations, given)))
    return tuple(segments)
