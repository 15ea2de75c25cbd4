"""Which layers become int16 layers, and what that does to the logits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.calibration.evaluation_images import images_for_layers
from qlvit_edge.calibration.file import Calibration, calibration_of
from qlvit_edge.calibration.sensitivity import (
    Cost,
    LayerCost,
    Sensitivity,
    Views,
    cost_of,
    measure,
)
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import MapMixing
from qlvit_edge.converters.int16_layers import Int16Graph, int16_candidates, with_int16_layers
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint

IMAGES = 32


@dataclass(frozen=True)
class Int16Choice:
    """The int8 graph, and the same with the worst layers' activations in int16.

    Attributes:
        plain: all int8.
        int16: with the chosen layers in int16.
        chosen: these layers' costs, worst first.
        skipped: layers that cost as much or more, none of whose activations can be int16.
        views: (N, h, w, channels) uint8 images that the costs are from.
        before: the plain graph against the float network.
        after: the graph with int16 layers.
    """

    plain: Graph
    int16: Int16Graph
    chosen: tuple[LayerCost, ...]
    skipped: tuple[str, ...]
    views: Views
    before: Cost
    after: Cost


def choose_int16_layers(
    checkpoint: Checkpoint,
    calibration: Calibration,
    softmax: Form,
    views: Views,
    count: int,
    progress: Progress,
) -> Int16Choice:
    """Measure the layers and make the worst of those that can be int16 layers.

    Args:
        checkpoint: the trained network.
        calibration: its calibration; int16 activations reach over all it saw, whatever its
            observer cuts off.
        softmax: form of the integer softmax.
        views: (N, h, w, channels) uint8 images that layers are measured on.
        count: int16 layers wanted; all that can be if there are fewer.
        progress: makes a progress bar from a description and a total.

    Raises:
        ConversionError: the network cannot be lowered.
        CalibrationError: a tensor has no range.
    """
    found = measure(checkpoint, calibration, softmax, views, None, progress, both=False)
    plain = integer_graph(checkpoint, calibration, softmax, MapMixing)
    chosen, skipped = worst_candidates(found, int16_candidates(plain), count)
    ranges = {name: tensor.minmax for name, tensor in calibration.tensors.items()}
    int16 = with_int16_layers(plain, [cost.layer for cost in chosen], ranges)
    after = cost_of(checkpoint, int16.graph, views)
    before = cost_of(checkpoint, plain, views)
    return Int16Choice(plain, int16, chosen, skipped, views, before, after)


def choose_for_run(
    checkpoint: Checkpoint,
    softmax: Form,
    data: Path | None,
    split_path: Path | None,
    count: int,
    bundled_run: bool,
    progress: Progress,
) -> Int16Choice:
    """Choose int16 layers on a run's own images, outside calibration and test.

    Args:
        checkpoint: the trained and calibrated network.
        softmax: form of the integer softmax.
        data: folder of images; None: what the run records, for a bundled run the bundled crops.
        split_path: split of the proof, whose test images do not choose layers.
        count: int16 layers wanted.
        bundled_run: whether the run is one.
        progress: makes a progress bar from a description and a total.

    Raises:
        QLViTEdgeError: see `images_for_layers` and `choose_int16_layers`.
    """
    calibration = calibration_of(checkpoint)
    images = images_for_layers(checkpoint, calibration, data, IMAGES, bundled_run, split_path)
    views = images.views(checkpoint.run.network)
    return choose_int16_layers(checkpoint, calibration, softmax, views, count, progress)


def worst_candidates(
    found: Sensitivity, possible: Collection[str], count: int
) -> tuple[tuple[LayerCost, ...], tuple[str, ...]]:
    """Return the worst layers that can be int16 layers, and those passed over on the way."""
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
