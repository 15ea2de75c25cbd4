"""Which layers `convert --mixed` lifts to int16, and what that does to the logits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.sensitivity import (
    Cost,
    LayerCost,
    Progress,
    Sensitivity,
    Views,
    cost_of,
    measure,
)
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.lift import Lifted, lift, liftable
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Lifting:
    """The int8 graph, and the same with the worst layers' activations in int16.

    Attributes:
        plain: all int8.
        lifted: with the chosen layers in int16.
        chosen: these layers' costs, worst first.
        skipped: layers that cost as much or more, none of whose activations can be lifted.
        images: how many images the costs are from.
        before: the plain graph against the float network.
        after: the lifted graph.
    """

    plain: Graph
    lifted: Lifted
    chosen: tuple[LayerCost, ...]
    skipped: tuple[str, ...]
    images: int
    before: Cost
    after: Cost


def lift_worst(
    checkpoint: Checkpoint,
    calibration: Calibration,
    softmax: Form,
    views: Views,
    count: int,
    progress: Progress,
) -> Lifting:
    """Measure the layers and lift the worst of those that can be lifted.

    Args:
        checkpoint: the trained network.
        calibration: its calibration; lifted activations reach over all it saw, whatever its
            observer cuts off.
        softmax: form of the integer softmax.
        views: (N, h, w, channels) uint8 images that layers are measured on.
        count: layers to lift; all that can be if there are fewer.
        progress: makes a progress bar from a description and a total.

    Raises:
        ConversionError: the network cannot be lowered.
        CalibrationError: a tensor has no range.
    """
    found = measure(checkpoint, calibration, softmax, views, None, progress, both=False)
    plain = integer_graph(checkpoint, calibration, softmax)
    chosen, skipped = worst_liftable(found, liftable(plain), count)
    ranges = {name: tensor.minmax for name, tensor in calibration.tensors.items()}
    lifted = lift(plain, [cost.layer for cost in chosen], ranges)
    after = cost_of(checkpoint, lifted.graph, views)
    return Lifting(plain, lifted, chosen, skipped, len(views), found.whole, after)


def worst_liftable(
    found: Sensitivity, possible: Collection[str], count: int
) -> tuple[tuple[LayerCost, ...], tuple[str, ...]]:
    """Return the worst layers that can be lifted, and those passed over on the way."""
    chosen: list[LayerCost] = []
    skipped: list[str] = []
    for cost in found.worst():
        if len(chosen) == count:
            break
        if cost.layer in possible:
            chosen.append(cost)
        else:
            skipped.append(cost.layer)
    return tuple(chosen), tuple(skipped)
