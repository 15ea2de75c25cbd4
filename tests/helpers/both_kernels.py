"""Runs a model on both kernel sets; for a child process, whose imports it keeps few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.prove import compare_tensors, default_logits


@dataclass(frozen=True)
class Comparison:
    """What `compare_kernels` found.

    Attributes:
        unequal: tensor → images in which the reference kernels differ from the NumPy reference.
        tensors: activations compared per image.
        reference: (N, classes) int8 logits of the NumPy reference.
        default: (N, classes) int8 logits of the default kernels.
        kernels: what the default kernels were.
    """

    unequal: dict[str, int]
    tensors: int
    reference: NDArray[np.int8]
    default: NDArray[np.int8]
    kernels: str


def compare_kernels(graph: Graph, model: bytes, views: NDArray[np.uint8]) -> Comparison:
    """Compare every tensor on the reference kernels; run the default ones besides."""
    equality = compare_tensors(graph, model, views)
    logits, kernels = default_logits(model, views, lambda: None)
    return Comparison(equality.unequal, equality.tensors, equality.logits, logits, kernels)
