"""Which operations to leave to the CPU so that fewer runs of the Edge TPU remain.

A schedule of T runs gives every operation one of 2T + 1 turns, those of the CPU and of the Edge
TPU alternating, and none an earlier turn than what it reads. What is lost are the MACs of
operations that the Edge TPU runs and that get a turn of the CPU. With turns as levels and the
loss as a cost of each level this is a minimum cut (H. Ishikawa, Exact optimization for Markov
random fields with convex priors, IEEE TPAMI 25(10), 2003), so the least loss is found exactly
and in polynomial time, for any graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qlvit_edge.converters.edgetpu.minimum_cut import UNCUTTABLE, Network
from qlvit_edge.modelfile.edgetpu import Device


def left_to_cpu(
    before: Sequence[Sequence[int]],
    sides: Sequence[Device | None],
    weights: Sequence[int],
    trips: int,
    affordable: Callable[[int], bool],
) -> set[int]:
    """Choose the operations to leave: the fewest runs affordable, then the smallest loss.

    Args:
        before: for each operation the numbers of those it reads, all smaller than its own.
        sides: where each must run, or is wanted; None if either side will do.
        weights: what each counts for when one of the Edge TPU's goes to the CPU; positive.
        trips: runs of the Edge TPU if none is left.
        affordable: whether the sum of weights given may be left.
    """
    chosen: set[int] = set()
    readers = _readers(before, sides)
    for fewer in range(trips - 1, 0, -1):
        loss, left = least_loss(readers, sides, weights, fewer)
        if not affordable(loss):
            break
        chosen = left
    return chosen


def least_loss(
    readers: Sequence[tuple[int, int]],
    sides: Sequence[Device | None],
    weights: Sequence[int],
    trips: int,
) -> tuple[int, set[int]]:
    """Find the least sum of weights to leave to the CPU in a schedule of at most `trips` runs.

    Node k of an operation stands for "its turn is k or later", so the arc from one node to the
    next is cut where its turn is, at that turn's cost. The arcs that cannot be cut keep a single
    turn per operation, and each reader from coming before what it reads.

    Args:
        readers: pairs of an operation with a side and one that must not come before it.
        sides: of all operations.
        weights: of all operations.
        trips: runs allowed, at least 1.
    """
    turns = 2 * trips + 1  # the CPU's have even numbers
    forced = [index for index, side in enumerate(sides) if side is not None]
    place = {operation: number for number, operation in enumerate(forced)}
    source, sink = 0, 1
    network = Network(2 + len(forced) * (turns - 1))

    def node(operation: int, turn: int) -> int:
        if turn == 0:
            return source
        return sink if turn == turns else 1 + place[operation] * (turns - 1) + turn

    for operation in forced:
        on_tpu = sides[operation] == "tpu"
        costs = (weights[operation], 0) if on_tpu else (0, UNCUTTABLE)
        for turn in range(turns):
            start, end = node(operation, turn), node(operation, turn + 1)
            network.connect(start, end, costs[turn % 2], UNCUTTABLE)
    for first, second in readers:
        for turn in range(1, turns):
            network.connect(node(first, turn), node(second, turn), UNCUTTABLE)
    loss, after = network.minimum_cut(source, sink)
    left = set()
    for operation in forced:
        turn = sum(after[node(operation, turn)] for turn in range(1, turns))
        if sides[operation] == "tpu" and turn % 2 == 0:
            left.add(operation)
    return loss, left


def _readers(
    before: Sequence[Sequence[int]], sides: Sequence[Device | None]
) -> list[tuple[int, int]]:
    """Pairs of operations with a side, one depending on the other through none but free ones."""
    pairs: list[tuple[int, int]] = []
    reached: list[set[int]] = []  # operations with a side that are met first, going backwards
    for index, side in enumerate(sides):
        found: set[int] = set().union(*(reached[source] for source in before[index]))
        if side is not None:
            pairs.extend((source, index) for source in sorted(found))
            found = {index}
        reached.append(found)
    return pairs
