"""The one partition on the Edge TPU is convex and maximal, whatever the order of the file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qlvit_edge.modelfile.edgetpu_partition import first_partition


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[list[set[int]], list[bool]]:
    count = draw(st.integers(0, 12))
    sources = [
        draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        for index in range(count)
    ]
    return sources, draw(st.lists(st.booleans(), min_size=count, max_size=count))


def _ancestors(sources: list[set[int]]) -> list[set[int]]:
    found: list[set[int]] = []
    for read in sources:
        found.append(read.union(*(found[source] for source in read)))
    return found


def _is_convex(members: set[int], ancestors: list[set[int]]) -> bool:
    """No operator outside stands between two members."""
    return not any(
        ancestors[outside] & members and any(outside in ancestors[member] for member in members)
        for outside in range(len(ancestors))
        if outside not in members
    )


@given(_graphs())
def test_the_partition_is_convex_and_no_operator_that_fits_could_join(
    graph: tuple[list[set[int]], list[bool]],
) -> None:
    sources, fits = graph
    ancestors = _ancestors(sources)
    members = {i for i, on_tpu in enumerate(first_partition(sources, fits)) if on_tpu}
    assert all(fits[member] for member in members)
    assert _is_convex(members, ancestors)
    for index, fit in enumerate(fits):
        if fit and index not in members:
            assert not _is_convex(members | {index}, ancestors)


@given(_graphs())
def test_it_holds_what_stands_before_the_first_unmapped_operator_of_the_file(
    graph: tuple[list[set[int]], list[bool]],
) -> None:
    sources, fits = graph
    prefix = fits.index(False) if False in fits else len(fits)
    assert all(first_partition(sources, fits)[:prefix])


@given(_graphs(), st.data())
def test_the_order_of_the_file_does_not_matter(
    graph: tuple[list[set[int]], list[bool]], data: st.DataObject
) -> None:
    sources, fits = graph
    order: list[int] = []  # another order of execution
    while len(order) < len(fits):
        ready = [i for i in range(len(fits)) if i not in order and sources[i] <= set(order)]
        order.append(data.draw(st.sampled_from(ready)))
    place = {operator: number for number, operator in enumerate(order)}
    found = first_partition(
        [{place[source] for source in sources[operator]} for operator in order],
        [fits[operator] for operator in order],
    )
    assert [found[place[i]] for i in range(len(fits))] == list(first_partition(sources, fits))


def test_an_unmapped_operator_at_the_start_delays_and_excludes_nothing() -> None:
    assert first_partition([set(), {0}, {1}], [False, True, True]) == (False, True, True)


def test_a_side_branch_keeps_only_what_needs_it_off() -> None:
    # 0 → 1 → 3, and 0 → 2 (not mapped) → 3 → 4
    sources = [set(), {0}, {0}, {1, 2}, {3}]
    found = first_partition(sources, [True, True, False, True, True])
    assert found == (True, True, False, False, False)


def test_the_first_partition_counts_not_the_largest() -> None:
    """The logs' finding: what comes after the first change back to the CPU stays there."""
    found = first_partition([set(), {0}, {1}, {2}, {3}], [True, False, True, True, True])
    assert found == (True, False, False, False, False)
