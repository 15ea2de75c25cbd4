"""Round trips to the Edge TPU are as few as any schedule has them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.converters.edgetpu.plan import Plan, _Net, make_plan
from qlvit_edge.converters.graph import Array, Encoding, Graph, Operation, Tensor
from qlvit_edge.converters.idioms.numerics import EdgeTpu
from qlvit_edge.converters.idioms.scales import Asked
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.model.configs import size_config
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.modelfile.edgetpu_forecast import forecast
from qlvit_edge.modelfile.reader import read_document


@dataclass(frozen=True, eq=False, kw_only=True)
class _Step(Operation):
    """An operation that is nothing but its place in a graph."""

    cost: int

    def shape_rule(self) -> tuple[int, ...]:
        return (1, 8)

    def reference(self, *arrays: Array) -> Array:
        return arrays[0]

    def encoding(self) -> Encoding:
        return Encoding("ADD", 1)

    def macs(self) -> int:
        return self.cost


def _graph(sources: list[list[int]], kinds: str) -> tuple[Graph, list[bool]]:
    """Operations of kind t (wanted on the TPU), c (CPU only) or f (free)."""
    image = Tensor("image", (1, 8), "int8")
    steps: list[_Step] = []
    for index, (read, kind) in enumerate(zip(sources, kinds, strict=True)):
        inputs = tuple(steps[i].output for i in read) or (image,)
        steps.append(_Step(inputs=inputs, name=f"{index}", cost=10 if kind == "t" else 0))
    graph = Graph("g", (image,), (steps[-1].output,), tuple(steps))
    return graph, [kind != "c" for kind in kinds]


def _fewest(sources: list[list[int]], kinds: str) -> int:
    """Round trips of the best of all schedules, by trying every one."""
    best = len(kinds)
    choices = [
        [level for level in range(len(kinds) + 1) if kind == "f" or (kind == "c") == level % 2]
        for kind in kinds
    ]
    for levels in itertools.product(*choices):
        if all(levels[s] <= levels[i] for i, read in enumerate(sources) for s in read):
            best = min(best, len({level for level in levels if level % 2 == 0}))
    return best


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_schedule_of_a_small_graph_has_fewer_round_trips(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    sources = [
        data.draw(st.lists(st.integers(0, i - 1), max_size=2, unique=True)) if i else []
        for i in range(count)
    ]
    kinds = data.draw(st.text("tcf", min_size=count, max_size=count))
    graph, mapped = _graph(sources, kinds)
    plan = make_plan(graph, mapped)
    assert plan.trips == _fewest(sources, kinds)
    _require_valid(graph, mapped, plan)


def _require_valid(graph: Graph, mapped: list[bool], plan: Plan) -> None:
    """Every operation on a side that has it, and after all that it reads."""
    made = {operation.name: index for index, operation in enumerate(graph.operations)}
    for index, operation in enumerate(graph.operations):
        assert mapped[index] or plan.device(index) == "cpu"
        for tensor in operation.inputs:
            assert plan.levels[made.get(tensor.name, index)] <= plan.levels[index]


def sized_graph(size: str) -> tuple[Graph, list[bool]]:
    """A size's graph with random weights and made-up ranges: good for counting only."""
    torch.manual_seed(0)
    graph = lower(QLViT(size_config(size)).eval(), Writer("count", EdgeTpu(Asked())))
    reasons = forecast(read_document(write_tflite(graph))).reasons
    return graph, [reason is None for reason in reasons]


@pytest.mark.parametrize(("size", "blocks"), [("nano", 5), ("tiny", 7)])
def test_one_round_trip_a_block_and_one(size: str, blocks: int) -> None:
    graph, mapped = sized_graph(size)
    plan = make_plan(graph, mapped)
    assert plan.trips == blocks + 1
    assert plan.share >= 0.85
    assert not plan.moved
    _require_valid(graph, mapped, plan)


def test_tiny_saves_round_trips_and_keeps_85_percent() -> None:
    graph, mapped = sized_graph("tiny")
    plan = make_plan(graph, mapped, 0.85)
    assert plan.trips == 7
    assert plan.share >= 0.85
    assert plan.moved
    _require_valid(graph, mapped, plan)


@pytest.mark.parametrize("share", [1.0, 0.85])
def test_the_witness_is_a_path_that_changes_sides_at_every_step(share: float) -> None:
    graph, mapped = sized_graph("nano")
    plan = make_plan(graph, mapped, share)
    made = {operation.name: operation for operation in graph.operations}
    index = {operation.name: i for i, operation in enumerate(graph.operations)}
    for name, following in itertools.pairwise(plan.witness):
        assert plan.device(index[name]) != plan.device(index[following])
        assert name in _ancestors(made, following)
    forced = [not mapped[index[name]] or made[name].macs() > 0 for name in plan.witness]
    assert all(forced)
    on_tpu = sum(plan.device(index[name]) == "tpu" for name in plan.witness)
    assert on_tpu == plan.trips


def _ancestors(made: dict[str, Operation], name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for tensor in made[waiting.pop()].inputs:
            if tensor.name in made and tensor.name not in found:
                found.add(tensor.name)
                waiting.append(tensor.name)
    return found


def test_no_choice_of_runs_to_leave_to_the_cpu_saves_more() -> None:
    graph, mapped = sized_graph("nano")
    smallest = 0.8
    net = _Net(graph, mapped)
    levels = net.earliest(net.sides)
    late = net.latest(net.sides, max(levels))
    runs: dict[int, set[int]] = {}
    for i, side in enumerate(net.sides):
        if side == "tpu" and levels[i] == late[i]:
            runs.setdefault(levels[i], set()).add(i)
    total = sum(net.macs)
    wanted = sum(m for m, side in zip(net.macs, net.sides, strict=True) if side == "tpu")
    best = len(runs)
    for count in range(len(runs) + 1):
        for chosen in itertools.combinations(runs.values(), count):
            left = set().union(*chosen)
            if (wanted - sum(net.macs[i] for i in left)) / total < smallest:
                continue
            sides = [None if i in left else side for i, side in enumerate(net.sides)]
            found = net.earliest(sides)
            forced = {
                found[i] for i, side in enumerate(sides) if side == "tpu" and found[i] % 2 == 0
            }
            best = min(best, len(forced))
    assert make_plan(graph, mapped, smallest).trips == best
