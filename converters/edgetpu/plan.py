"""Which operation runs where: as few round trips to the Edge TPU as the graph allows.

An operation that breaks a rule must run on the CPU; one with multiply-accumulates is wanted
on the Edge TPU; the rest (sums, reshapes, tables of one entry) may run on either side. Every
operation gets a level; even levels are runs of the Edge TPU, odd ones of the CPU, and an
operation never has a lower level than what it reads. As early as possible, an operation's
level is the largest number of changes of side among those that are forced along any path to
it: no schedule has fewer. `qlvit_edge.converters.edgetpu.savings` says which operations with
MACs are worth leaving to the CPU. Among the schedules of that length the one is sought that carries
the fewest bytes across.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qlvit_edge.converters.edgetpu.savings import left_to_cpu
from qlvit_edge.converters.graph import Graph
from qlvit_edge.modelfile.edgetpu import Device

_PARITY: dict[Device, int] = {"tpu": 0, "cpu": 1}


@dataclass(frozen=True)
class Plan:
    """A schedule.

    Attributes:
        levels: one per operation; even on the Edge TPU, odd on the CPU.
        trips: runs of the Edge TPU, each a round trip of the host.
        share: of the MACs, on the Edge TPU.
        witness: operations along one path that must change sides; proves that fewer round
            trips are impossible for the sides they must run on.
        moved: operations with MACs that were left to the CPU to save round trips.
    """

    levels: tuple[int, ...]
    trips: int
    share: float
    witness: tuple[str, ...]
    moved: tuple[str, ...]

    def device(self, index: int) -> Device:
        """Where an operation runs."""
        return "cpu" if self.levels[index] % 2 else "tpu"


class _Net:
    """A graph as numbers: who reads whom, what it weighs, where it must run."""

    def __init__(self, graph: Graph, mapped: Sequence[bool]) -> None:
        made = {operation.name: index for index, operation in enumerate(graph.operations)}
        self.names = [operation.name for operation in graph.operations]
        self.macs = [operation.macs() for operation in graph.operations]
        self.before = [
            sorted({made[t.name] for t in operation.inputs if t.name in made})
            for operation in graph.operations
        ]
        self.after: list[list[int]] = [[] for _ in self.names]
        for index, sources in enumerate(self.before):
            for source in sources:
                self.after[source].append(index)
        self.bytes = [_bytes(operation.output.shape) for operation in graph.operations]
        self.image_readers = [
            (
                _bytes(tensor.shape),
                [i for i, op in enumerate(graph.operations) if tensor in op.inputs],
            )
            for tensor in graph.inputs
        ]
        self.sides: list[Device | None] = [
            "cpu" if not fits else "tpu" if macs else None
            for fits, macs in zip(mapped, self.macs, strict=True)
        ]

    def earliest(self, sides: Sequence[Device | None]) -> list[int]:
        """Level of every operation, as early as possible, from 0 or, if that saves a run, 1."""
        schedules = []
        for first in (0, 1):
            levels: list[int] = []
            for index, side in enumerate(sides):
                level = max((levels[source] for source in self.before[index]), default=first)
                levels.append(level if side is None else level + (level - _PARITY[side]) % 2)
            schedules.append((max(levels, default=0) // 2 - first, levels))
        return min(schedules, key=lambda schedule: schedule[0])[1]

    def latest(self, sides: Sequence[Device | None], last: int) -> list[int]:
        """Level of every operation, as late as a schedule up to level `last` allows."""
        levels = [last] * len(sides)
        for index in reversed(range(len(sides))):
            side = sides[index]
            level = min((levels[reader] for reader in self.after[index]), default=last)
            levels[index] = level if side is None else level - (level - _PARITY[side]) % 2
        return levels

    def cost(self, levels: Sequence[int]) -> tuple[int, int]:
        """Bytes that cross between host and Edge TPU, then bytes the CPU makes."""
        crossing = 0
        for index, size in enumerate(self.bytes):
            own = levels[index]
            others = {levels[reader] for reader in self.after[index]} - {own}
            # Out of the Edge TPU once, into each of its later runs.
            crossing += size * sum(level % 2 == 0 for level in others)
            crossing += size * (own % 2 == 0 and bool(others))
        for size, readers in self.image_readers:
            crossing += size * len({levels[r] for r in readers if levels[r] % 2 == 0})
        made = sum(size for index, size in enumerate(self.bytes) if levels[index] % 2)
        return crossing, made

    def trips(self, levels: Sequence[int]) -> int:
        """Runs of the Edge TPU."""
        return len({level for level in levels if level % 2 == 0})

    def share(self, levels: Sequence[int]) -> float:
        """Share of the MACs on the Edge TPU; 1 for a graph without any."""
        total = sum(self.macs)
        on_tpu = sum(m for m, level in zip(self.macs, levels, strict=True) if level % 2 == 0)
        return on_tpu / total if total else 1.0

    def kept_share(self, loss: int) -> float:
        """Share of the MACs on the Edge TPU if of those wanted there `loss` are left."""
        wanted = sum(m for m, side in zip(self.macs, self.sides, strict=True) if side == "tpu")
        total = sum(self.macs)
        return (wanted - loss) / total if total else 1.0


def make_plan(graph: Graph, mapped: Sequence[bool], smallest_share: float = 1.0) -> Plan:
    """Find the schedule with the fewest round trips.

    Args:
        graph: the integer graph.
        mapped: per operation, whether the Edge TPU runs it.
        smallest_share: share of the MACs that must stay on the Edge TPU (0 to 1). Of all
            choices of operations to leave to the CPU that keep it, the one with the fewest
            round trips is taken, but never without any, and of these the one that leaves the
            fewest MACs. With 1 all mapped operations with MACs stay.
    """
    net = _Net(graph, mapped)
    levels = net.earliest(net.sides)
    moved = left_to_cpu(
        net.before,
        net.sides,
        net.macs,
        net.trips(levels),
        lambda loss: net.kept_share(loss) >= smallest_share,
    )
    sides = [None if index in moved else side for index, side in enumerate(net.sides)]
    levels = net.earliest(sides)
    witness = _witness(net, sides, levels)
    levels = _fewest_bytes(net, sides, levels)
    return Plan(
        levels=tuple(levels),
        trips=net.trips(levels),
        share=net.share(levels),
        witness=tuple(net.names[index] for index in witness),
        moved=tuple(net.names[i] for i in sorted(moved) if levels[i] % 2),
    )


def _witness(net: _Net, sides: Sequence[Device | None], levels: Sequence[int]) -> list[int]:
    """Follow one path backwards from the highest level; keep one forced operation per level."""
    path: list[int] = []
    index = max(range(len(levels)), key=lambda i: levels[i], default=None)
    wanted = max(levels, default=0)
    while index is not None:
        if sides[index] is not None and levels[index] == wanted:
            path.append(index)
            wanted -= 1
        index = max(net.before[index], key=lambda i: levels[i], default=None)
    return path[::-1]


def _fewest_bytes(net: _Net, sides: Sequence[Device | None], early: list[int]) -> list[int]:
    """Improve the earliest and the latest schedule by single moves; return the better."""
    last = max(early, default=0)
    late = net.latest(sides, last)
    found = [_local_optimum(net, sides, start, early, late) for start in (late, early)]
    return min(found, key=net.cost)


def _local_optimum(
    net: _Net,
    sides: Sequence[Device | None],
    start: Sequence[int],
    early: Sequence[int],
    late: Sequence[int],
) -> list[int]:
    levels = list(start)
    cost = net.cost(levels)
    improving = True
    while improving:
        improving = False
        for index, side in enumerate(sides):
            for level in range(early[index], late[index] + 1):
                if level == levels[index] or (side is not None and level % 2 != _PARITY[side]):
                    continue
                trial = _neighbour_schedule(net, sides, levels, index, level)
                found = net.cost(trial)
                if found < cost:
                    levels, cost, improving = trial, found, True
    return levels


def _neighbour_schedule(
    net: _Net, sides: Sequence[Device | None], levels: Sequence[int], index: int, level: int
) -> list[int]:
    """Give one operation a level and take along what it reads, or what reads it."""
    moved = list(levels)
    moved[index] = level
    step = 1 if level > levels[index] else -1
    neighbours = net.after if step > 0 else net.before
    waiting = [index]
    while waiting:
        current = waiting.pop()
        for other in neighbours[current]:
            if (moved[other] - moved[current]) * step >= 0:
                continue
            target, side = moved[current], sides[other]
            moved[other] = (
                target if side is None else target + step * ((target - _PARITY[side]) % 2)
            )
            waiting.append(other)
    return moved


def _bytes(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
