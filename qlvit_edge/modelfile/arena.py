"""How much memory a graph's activations need, planned as TFLite's interpreter plans it.

The interpreter puts all activations into one block, the arena. Its planner is greedy by size:
tensors in falling order of size, each at the lowest offset where the gap between those that
live at the same time is the tightest that fits it. A tensor lives from the operator that
writes it to the last one that reads it; inputs and outputs live all the time. This is a
calculation from the file, not a reading of the interpreter: it gives neither its arena's size,
nor what a delegate plans for its own parts (by the same idea) or a kernel as scratch space.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.document import Subgraph

ALIGNMENT = 64
"""Bytes that every tensor's offset in the arena is a multiple of."""

# Their output is their input under another shape or type: the interpreter keeps one copy.
_VIEWS = frozenset({"BITCAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE"})


@dataclass
class _Block:
    """Memory of a tensor, and of those that share it.

    Attributes:
        first: operator that writes it.
        last: last operator that reads it.
        size: bytes.
        offset: where it was put.
    """

    first: int
    last: int
    size: int
    offset: int = 0


LARGEST_PLAN = 3000


def arena_bytes(graph: Subgraph, *, subject: object = "model") -> int:
    """Return the bytes of the arena for ``graph``'s activations; 0 for a graph without any.

    Raises:
        ModelFileError: there are more activations than planning, quadratic in them, is safe for.
    """
    placed: list[_Block] = []
    highest = 0
    blocks = sorted(_blocks(graph), key=lambda block: (-block.size, block.first))
    if len(blocks) > LARGEST_PLAN:
        raise ModelFileError(
            subject,
            f"{len(blocks)} activations to plan memory for, at most {LARGEST_PLAN} are expected",
            "give a model of this kind",
        )
    for block in blocks:
        block.offset = _offset(block, placed)
        placed.append(block)
        highest = max(highest, block.offset + block.size)
    return highest


def _offset(block: _Block, placed: list[_Block]) -> int:
    """Return the start of the tightest gap that fits, else the end of what is in the way."""
    alive = [other for other in placed if other.first <= block.last and block.first <= other.last]
    best: tuple[int, int] | None = None
    end = 0
    for other in sorted(alive, key=lambda other: other.offset):
        start = _next_multiple(end)
        gap = other.offset - start
        if gap >= block.size and (best is None or gap < best[0]):
            best = (gap, start)
        end = max(end, other.offset + other.size)
    return best[1] if best is not None else _next_multiple(end)


def _blocks(graph: Subgraph) -> list[_Block]:
    last = len(graph.operators)
    owner: dict[int, _Block] = {}
    for tensor in graph.inputs:
        owner[tensor] = _Block(0, last, graph.tensors[tensor].nbytes)
    for number, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            if tensor in owner:
                owner[tensor].last = max(owner[tensor].last, number)
        source = owner.get(operator.inputs[0]) if operator.inputs else None
        for tensor in operator.outputs:
            if tensor < 0:
                continue
            size = graph.tensors[tensor].nbytes
            if operator.name in _VIEWS and source is not None and source.size == size:
                owner[tensor] = source
            else:
                owner[tensor] = _Block(number, number, size)
    for tensor in graph.outputs:
        if tensor in owner:
            owner[tensor].last = last
    for index, tensor_of in owner.items():
        if graph.tensors[index].is_variable:
            tensor_of.first, tensor_of.last = 0, last
    distinct = {id(block): block for block in owner.values() if block.size}
    return list(distinct.values())


def _next_multiple(value: int) -> int:
    return -(-value // ALIGNMENT) * ALIGNMENT
