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
from qlvit_edge.converters.idioms.scales import ScaleRequests
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


def _graph(
    sources: list[list[int]], kinds: str, costs: list[int] | None = None
) -> tuple[Graph, list[bool]]:
    """Operations of kind t (wanted on the TPU), c (CPU only) or f (free), with costs in MACs."""
    image = Tensor("image", (1, 8), "int8")
    steps: list[_Step] = []
    for index, (read, kind) in enumerate(zip(sources, kinds, strict=True)):
        inputs = tuple(steps[i].output for i in read) or (image,)
        cost = costs[index] if costs else 10 if kind == "t" else 0
        steps.append(_Step(inputs=inputs, name=f"{index}", cost=cost))
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
    graph = lower(QLViT(size_config(size)).eval(), Writer("count", EdgeTpu(ScaleRequests())))
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


def _best(
    sources: list[list[int]], kinds: str, costs: list[int], smallest: float
) -> tuple[int, int]:
    """Fewest round trips and fewest MACs left, by trying every schedule that may be chosen."""
    wanted = {index for index, kind in enumerate(kinds) if kind == "t"}
    total = sum(costs)
    most = sum(costs[index] for index in wanted)
    found = []
    choices = [
        range(1, 2 * len(kinds), 2) if kind == "c" else range(2 * len(kinds)) for kind in kinds
    ]
    for levels in itertools.product(*choices):
        if any(levels[s] > levels[i] for i, read in enumerate(sources) for s in read):
            continue
        left = sum(costs[index] for index in wanted if levels[index] % 2)
        trips = len({level for level in levels if level % 2 == 0})
        affordable = not total or (most - left) / total >= smallest
        if left == 0 or (affordable and trips):
            found.append((trips, left))
    return min(found)


@st.composite
def _weighted(draw: st.DrawFn) -> tuple[list[list[int]], str, list[int], float]:
    count = draw(st.integers(1, 5))
    sources = [
        draw(st.lists(st.integers(0, i - 1), max_size=2, unique=True)) if i else []
        for i in range(count)
    ]
    kinds = draw(st.text("tccf", min_size=count, max_size=count))
    costs = [
        draw(st.integers(1, 9)) if kind == "t" else draw(st.integers(0, 3)) if kind == "c" else 0
        for kind in kinds
    ]
    return sources, kinds, costs, draw(st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.8, 0.9, 1.0]))


@given(_weighted())
@settings(max_examples=60, deadline=None)
def test_no_choice_of_operations_to_leave_saves_more(
    case: tuple[list[list[int]], str, list[int], float],
) -> None:
    sources, kinds, costs, smallest = case
    graph, mapped = _graph(sources, kinds, costs)
    plan = make_plan(graph, mapped, smallest)
    left = sum(costs[int(name)] for name in plan.moved)
    trips, fewest_left = _best(sources, kinds, costs, smallest)
    assert plan.trips == trips
    assert left <= fewest_left
    _require_valid(graph, mapped, plan)


def test_the_first_run_is_left_where_it_is_the_cheapest() -> None:
    graph, mapped = _graph([[], [0], [1]], "tct", [2, 0, 3])
    plan = make_plan(graph, mapped, 0.6)
    assert (plan.trips, plan.share, plan.moved) == (1, 3 / 5, ("0",))


def test_operations_of_several_runs_are_left_together() -> None:
    """Either branch alone saves nothing: both have a run after what the CPU does."""
    kinds = "tcttct"
    sources: list[list[int]] = [[], [0], [1], [0], [3], [4]]
    graph, mapped = _graph(sources, kinds, [6, 0, 3, 20, 0, 3])
    plan = make_plan(graph, mapped, 0.75)
    assert (plan.trips, plan.share, plan.moved) == (1, 26 / 32, ("2", "5"))


def test_a_plan_for_the_edge_tpu_uses_it_whatever_share_will_do() -> None:
    graph, mapped = _graph([[], [0], [1]], "tct", [1, 0, 5])
    plan = make_plan(graph, mapped, 0.0)
    assert (plan.trips, plan.moved) == (1, ("0",))


@pytest.mark.parametrize("smallest", [0.8, 0.4])
def test_what_is_left_of_nano_is_the_least_that_saves_as_much(smallest: float) -> None:
    """Every set of whole runs is tried: none keeps more MACs in as few round trips."""
    graph, mapped = sized_graph("nano")
    plan = make_plan(graph, mapped, smallest)
    net = _Net(graph, mapped)
    levels = net.earliest(net.sides)
    late = net.latest(net.sides, max(levels))
    runs: dict[int, set[int]] = {}
    for i, side in enumerate(net.sides):
        if side == "tpu" and levels[i] == late[i]:
            runs.setdefault(levels[i], set()).add(i)
    best = []
    for count in range(len(runs) + 1):
        for chosen in itertools.combinations(runs.values(), count):
            left = set().union(*chosen)
            share = net.kept_share(sum(net.macs[i] for i in left))
            if share < smallest:
                continue
            sides = [None if i in left else side for i, side in enumerate(net.sides)]
            best.append((net.trips(net.earliest(sides)), -share))
    assert (plan.trips, -plan.share) <= min(best)
