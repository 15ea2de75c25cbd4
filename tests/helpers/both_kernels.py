"""Compares a model with its specification on both kernel sets; for a child process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.proof.equality import Equality, compare_tensors


def compare_kernels(
    graph: Graph, model: bytes, views: NDArray[np.uint8]
) -> tuple[Equality, Equality]:
    """Compare every tensor on the default and on the reference kernels."""
    return (
        compare_tensors(graph, model, views, "xnnpack"),
        compare_tensors(graph, model, views, "reference"),
    )
