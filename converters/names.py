"""Which layer of the network a tensor belongs to, by its name in any graph."""

from __future__ import annotations

from qlvit_edge.converters.graph import Graph


def layer_of(name: str) -> str:
    """Return the layer that a tensor belongs to: ``stem``, ``head`` or ``blockN/part``.

    Args:
        name: of a tensor in either graph.
    """
    first, *rest = name.split("/")
    if first.startswith("block") and rest:
        return f"{first}/{rest[0].removesuffix('_pool')}"
    return "head" if first in ("head", "logits") else "stem"


def layers_of(graph: Graph) -> list[str]:
    """Return the layers of a graph in their order."""
    return list(dict.fromkeys(layer_of(operation.name) for operation in graph.operations))
