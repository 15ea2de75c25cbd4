"""The cheapest way to part two nodes, against every way of parting them."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from qlvit_edge.converters.edgetpu.minimum_cut import Network

_Arc = tuple[int, int, int, int]


def _cheapest(nodes: int, arcs: list[_Arc]) -> int:
    """Cost of the best of all ways to put each node with the source (0) or the sink (1)."""
    return min(
        _cost((True, False, *rest), arcs) for rest in itertools.product((0, 1), repeat=nodes - 2)
    )


def _cost(with_source: tuple[bool | int, ...], arcs: list[_Arc]) -> int:
    cost = 0
    for start, end, capacity, back in arcs:
        cost += capacity * (with_source[start] and not with_source[end])
        cost += back * (with_source[end] and not with_source[start])
    return cost


@st.composite
def _networks(draw: st.DrawFn) -> tuple[int, list[_Arc]]:
    nodes = draw(st.integers(2, 8))
    node = st.integers(0, nodes - 1)
    arc = st.tuples(node, node, st.integers(0, 20), st.integers(0, 20))
    return nodes, draw(st.lists(arc.filter(lambda found: found[0] != found[1]), max_size=20))


# The first path found, 0 2 3 1, must give way to a longer one for two to fit.
_GIVES_WAY = [
    (*ends, 1, 0)
    for ends in ((0, 2), (2, 3), (3, 1), (0, 4), (4, 5), (5, 3), (2, 6), (6, 7), (7, 1))
]


@given(_networks())
@example((8, _GIVES_WAY))
def test_no_way_of_parting_the_two_is_cheaper(case: tuple[int, list[_Arc]]) -> None:
    nodes, arcs = case
    network = Network(nodes)
    for arc in arcs:
        network.connect(*arc)
    cost, with_source = network.minimum_cut(0, 1)
    assert with_source[0]
    assert not with_source[1]
    assert cost == _cost(tuple(with_source), arcs) == _cheapest(nodes, arcs)
