"""Which operators form the one partition that the Edge TPU's compiler makes of a graph.

The compiler divides a graph by dependencies, not by the order of operators in the file. Without
its experimental option for several subgraphs it keeps the first partition on the Edge TPU,
whatever weighs more later (a maintainer's words in
https://github.com/google-coral/edgetpu/issues/461). A log bears that out: 2 of 155 operators
mapped around the first TRANSPOSE, and none of the convolutions behind it
(https://github.com/google-coral/edgetpu/issues/342).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

_Turn = Literal["before", "on", "after"]


def first_partition(sources: Sequence[Collection[int]], fits: Sequence[bool]) -> tuple[bool, ...]:
    """Tell which operators are in the first partition on the Edge TPU.

    The graph runs in three turns: what the CPU does before, one run of the Edge TPU, what the
    CPU does after. An operator that the Edge TPU does not run waits for the last turn only if
    it needs a result of the Edge TPU; one that fits is left to the last turn only if it needs
    a result of that turn. So the partition holds every operator that fits and depends on no
    unfit one that in turn depends on the partition. It is convex (no path leaves it and comes
    back), and no operator that fits could join it and leave it so.

    Args:
        sources: for each operator the numbers of those whose results it reads, all smaller
            than its own; operators are in any order of execution, and the answer is the same
            for each of them.
        fits: for each operator whether the Edge TPU runs it.
    """
    turns: list[_Turn] = []
    for read, fit in zip(sources, fits, strict=True):
        earlier = {turns[source] for source in read}
        if "after" in earlier:
            turns.append("after")
        elif fit:
            turns.append("on")
        else:
            turns.append("after" if "on" in earlier else "before")
    return tuple(turn == "on" for turn in turns)
