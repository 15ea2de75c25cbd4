"""Which layer costs what: one layer at a time in integers, or one at a time in float.

Two questions are asked of every layer. ``alone``: the float network with this layer in
integers, by the calibration. ``without``: the integer network with this layer in float. So
that a badly calibrated layer is blamed itself and not those that read it, ranges and anchors
of tensors outside the layer (``alone``) or inside it (``without``) are not the calibration's
but the extremes of the very images measured on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.hybrid import Hybrid
from qlvit_edge.calibration.observers import AnchorObserver, Range, require_finite
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.softmax import softmax_axes
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.lower.checkpoint import float_graph, ranges_needed
from qlvit_edge.converters.names import layer_of, layers_of
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint

Views = NDArray[np.uint8]
Logits = NDArray[np.float64]
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Cost:
    """A network against the float one, over the measured images.

    Attributes:
        sqnr_db: power of the float logits over that of the difference; None if there is none.
        relative_rms: root of the inverse ratio.
        agreement: share of images with the same class.
        accuracy: share with the right class; None where the images have no labels.
    """

    sqnr_db: float | None
    relative_rms: float
    agreement: float
    accuracy: float | None


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes:
        layer: ``stem``, ``head`` or ``blockN/part``.
        share: its part of the noise in the logits, summed over the layers alone; 0 to 1.
        alone: the float network with this layer in integers.
        without: the integer network with this layer in float; None if not measured.
    """

    layer: str
    share: float
    alone: Cost
    without: Cost | None


@dataclass(frozen=True)
class Sensitivity:
    """What `measure` finds.

    Attributes:
        images: number of images.
        float_accuracy: of the float network; None without labels.
        whole: the integer network.
        layers: in the network's order.
    """

    images: int
    float_accuracy: float | None
    whole: Cost
    layers: list[LayerCost]

    def worst(self) -> list[LayerCost]:
        """Return the layers, the one with the largest share first."""
        return sorted(self.layers, key=lambda cost: -cost.share)


def measure(
    checkpoint: Checkpoint,
    calibration: Calibration,
    softmax: Form,
    views: Views,
    labels: Sequence[int] | None,
    progress: Progress,
    *,
    both: bool = True,
) -> Sensitivity:
    """Put every layer into the other arithmetic, one at a time; see the module's text.

    All networks run on the default kernels.

    Args:
        checkpoint: the trained network.
        calibration: its calibration.
        softmax: form of the integer softmax.
        views: (N, h, w, channels) uint8.
        labels: N classes; None if they are not known.
        progress: makes a progress bar from a description and a total.
        both: measure ``without`` too, which takes as long again.

    Raises:
        ConversionError: the network cannot be lowered.
        CalibrationError: a tensor has no range, or is infinite on an image.
    """
    network = checkpoint.network
    float_run = _FloatRun.on(network, views)
    truth = None if labels is None else np.asarray(labels, np.int64)

    def cost(logits: Logits) -> Cost:
        return _cost(float_run.logits, logits, truth)

    def built(ranges: Mapping[str, Range], anchors: Mapping[str, int]) -> Graph:
        return lower(network, Writer("sensitivity", Int8(ScaleTable(ranges, anchors), softmax)))

    ranges, anchors = calibration.ranges(), calibration.anchors
    graph = built(ranges, anchors)
    whole = cost(_integer_logits(graph, views))
    layers = layers_of(graph)
    alone: list[Cost] = []
    without: list[Cost | None] = []
    noise: list[float] = []
    with progress("measuring layer by layer", len(layers)) as advance:
        for layer in layers:
            inside = built(
                _by_layer(ranges, float_run.ranges, layer),
                _by_layer(anchors, float_run.anchors, layer),
            )
            hybrid = Hybrid(float_run.graph, inside, layer)
            logits = np.stack([hybrid(view) for view in views])
            alone.append(cost(logits))
            noise.append(float(np.square(logits - float_run.logits).sum()))
            if both:
                outside = built(
                    _by_layer(float_run.ranges, ranges, layer),
                    _by_layer(float_run.anchors, anchors, layer),
                )
                hybrid = Hybrid(outside, float_run.graph, layer)
                without.append(cost(np.stack([hybrid(view) for view in views])))
            else:
                without.append(None)
            advance()
    total = sum(noise) or 1.0
    return Sensitivity(
        images=len(views),
        float_accuracy=_accuracy(float_run.logits, truth),
        whole=whole,
        layers=[
            LayerCost(layer, part / total, first, second)
            for layer, part, first, second in zip(layers, noise, alone, without, strict=True)
        ],
    )


def cost_of(checkpoint: Checkpoint, graph: Graph, views: Views) -> Cost:
    """Hold an integer graph of the network against the float one, on images without labels.

    Args:
        checkpoint: the trained network.
        graph: any integer graph of it.
        views: (N, h, w, channels) uint8.
    """
    float_run = _FloatRun.on(checkpoint.network, views)
    return _cost(float_run.logits, _integer_logits(graph, views), None)


@dataclass(frozen=True)
class _FloatRun:
    """The float network on the measured images: logits (N, classes), extremes and anchors."""

    graph: Graph
    logits: Logits
    ranges: dict[str, Range]
    anchors: dict[str, int]

    @classmethod
    def on(cls, network: QLViT, views: Views) -> _FloatRun:
        graph = float_graph(network, "sensitivity")
        model = Interpreter(write_tflite(graph), kernels=Kernels.BUILTIN, keep_all_tensors=True)
        needed = ranges_needed(network)
        low = dict.fromkeys(needed, np.inf)
        high = dict.fromkeys(needed, -np.inf)
        anchors = {name: AnchorObserver(axis) for name, axis in softmax_axes(graph).items()}
        logits = []
        for number, view in enumerate(views, start=1):
            logits.append(model.invoke(view.astype(np.float32))[0].astype(np.float64))
            kept = model.tensors()
            for name in needed:
                require_finite(name, kept[name], f"measured image {number}")
                low[name] = min(low[name], float(kept[name].min()))
                high[name] = max(high[name], float(kept[name].max()))
            for name, observer in anchors.items():
                observer.update(kept[name])
        return cls(
            graph,
            np.stack(logits),
            {name: (low[name], high[name]) for name in needed},
            {name: observer.anchor() for name, observer in anchors.items()},
        )


def _by_layer(
    inside: Mapping[str, _Value], outside: Mapping[str, _Value], layer: str
) -> dict[str, _Value]:
    """Return what ``inside`` says of the layer's tensors and ``outside`` of all others."""
    return {name: (inside if layer_of(name) == layer else outside)[name] for name in inside}


def _integer_logits(graph: Graph, views: Views) -> Logits:
    model = Interpreter(write_tflite(graph))
    output = graph.outputs[0]
    return np.stack([output.real(model.invoke(view)[0]) for view in views])


def _accuracy(logits: Logits, truth: NDArray[np.int64] | None) -> float | None:
    return None if truth is None else float((logits.argmax(1) == truth).mean())


def _cost(exact: Logits, found: Logits, truth: NDArray[np.int64] | None) -> Cost:
    signal, noise = float(np.square(exact).sum()), float(np.square(found - exact).sum())
    ratio = noise / signal if signal else 0.0
    return Cost(
        sqnr_db=-10 * float(np.log10(ratio)) if ratio else None,
        relative_rms=float(np.sqrt(ratio)),
        agreement=float((found.argmax(1) == exact.argmax(1)).mean()),
        accuracy=_accuracy(found, truth),
    )
