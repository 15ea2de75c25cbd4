"""The cheapest set of arcs that separates two nodes of a network, by Dinic's method.

E. A. Dinic, Algorithm for solution of a problem of maximum flow in networks with power
estimation, Soviet Math. Doklady 11 (1970). Capacities are integers, so the answer is exact.
"""

from __future__ import annotations

from collections import deque

UNCUTTABLE = 1 << 62
"""A capacity no cut should hold: larger than any sum of the others."""


class Network:
    """A directed network with capacities, of which a minimum cut is asked once.

    Args:
        nodes: how many; they are numbered from 0.
    """

    def __init__(self, nodes: int) -> None:
        self._ends: list[int] = []  # of each arc; the arc back is the next number, or the last
        self._left: list[int] = []
        self._arcs: list[list[int]] = [[] for _ in range(nodes)]

    def connect(self, start: int, end: int, capacity: int, back: int = 0) -> None:
        """Add an arc, and one back (with capacity 0 if none is wanted)."""
        for node, other, amount in ((start, end, capacity), (end, start, back)):
            self._arcs[node].append(len(self._ends))
            self._ends.append(other)
            self._left.append(amount)

    def minimum_cut(self, source: int, sink: int) -> tuple[int, list[bool]]:
        """Separate `source` from `sink`.

        Returns:
            The capacity of the cut, and for each node whether it stays with the source.
        """
        total = 0
        while True:
            depths = self._depths(source)
            if depths[sink] < 0:
                return total, [depth >= 0 for depth in depths]
            total += self._push(source, sink, depths)

    def _depths(self, source: int) -> list[int]:
        """Arcs between the source and each node; -1 for those out of reach."""
        depths = [-1] * len(self._arcs)
        depths[source] = 0
        waiting = deque([source])
        while waiting:
            node = waiting.popleft()
            for arc in self._arcs[node]:
                if self._left[arc] and depths[self._ends[arc]] < 0:
                    depths[self._ends[arc]] = depths[node] + 1
                    waiting.append(self._ends[arc])
        return depths

    def _push(self, source: int, sink: int, depths: list[int]) -> int:
        """Send along shortest paths what they carry, until none is left of that length."""
        following = [0] * len(self._arcs)
        path: list[int] = []
        total, node = 0, source
        while True:
            if node == sink:
                amount = min(self._left[arc] for arc in path)
                total += amount
                for arc in path:
                    self._left[arc] -= amount
                    self._left[arc ^ 1] += amount
                path, node = [], source
                continue
            arcs = self._arcs[node]
            while following[node] < len(arcs):
                arc = arcs[following[node]]
                if self._left[arc] and depths[self._ends[arc]] == depths[node] + 1:
                    break
                following[node] += 1
            else:
                if not path:
                    return total
                arc = path.pop()
                node = self._ends[arc ^ 1]
                following[node] += 1
                continue
            path.append(arc)
            node = self._ends[arc]
