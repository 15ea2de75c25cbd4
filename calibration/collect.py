"""Runs calibration images through the float graph and the integer one, tensor by tensor.

The float twin of the integer graph is run as a float32 .tflite with all tensors kept, so
what is observed is exactly what the device will hold, after folding and fusing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.file import Calibration, TensorCalibration, keep_trained
from qlvit_edge.calibration.observers import (
    AnchorObserver,
    ObserverName,
    TensorObserver,
    require_finite,
)
from qlvit_edge.choices import DEFAULT_OBSERVER
from qlvit_edge.converters.idioms.softmax import softmax_axes
from qlvit_edge.converters.lower.checkpoint import float_graph, integer_graph, ranges_needed
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.augment import Image
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import cell_view, whole_view
from qlvit_edge.files import sha256
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.preprocess import decode, decode_noting, read_file
from qlvit_edge.training.checkpoint import Checkpoint

VIEWS = ("whole image", "crop around the largest cell")
ERROR_IMAGES = 16


@dataclass(frozen=True)
class Observation:
    """What one pass over the images leaves.

    Attributes:
        calibration: every range and anchor, with no errors yet.
        float_model: the float twin, its tensors kept.
        images: a few of the images, for the error of each tensor.
    """

    calibration: Calibration
    float_model: Interpreter
    images: Sequence[LabelledImage]


def calibrate(
    checkpoint: Checkpoint,
    images: Sequence[LabelledImage],
    observer: ObserverName,
    advance: Callable[[], None],
) -> Calibration:
    """Find every tensor's range, every softmax's anchor and the error per tensor.

    Each image is shown whole and as the crop that `run` would make of it.

    Args:
        checkpoint: the trained network.
        images: representative images, none of them test images.
        observer: whose range is used.
        advance: called once per image, for a progress bar.

    Raises:
        DataError: an image does not decode.
        ConversionError: the network cannot be lowered.
        CalibrationError: a tensor is infinite or not a number on an image; or the run was trained
            as integers and has lost its ranges.
    """
    return with_errors(checkpoint, observe(checkpoint, images, advance), observer)


def observe(
    checkpoint: Checkpoint, images: Sequence[LabelledImage], advance: Callable[[], None]
) -> Observation:
    """Run the images through the float twin once; see `calibrate`."""
    graph = float_graph(checkpoint.network, "calibration")
    axes = softmax_axes(graph)
    size, channels = checkpoint.run.network.input_size, checkpoint.run.network.channels
    watchers = {name: TensorObserver() for name in ranges_needed(checkpoint.network)}
    anchors = {name: AnchorObserver(axis) for name, axis in axes.items()}
    interpreter = Interpreter(write_tflite(graph), kernels=Kernels.BUILTIN, keep_all_tensors=True)
    hashes: dict[str, str] = {}
    kinds: list[str] = []
    for entry in images:
        hashes[entry.relative] = sha256(read_file(entry.path))
        for view in _views(decode_noting(entry.path, kinds), size, channels):
            interpreter.invoke(view.astype(np.float32))
            kept = interpreter.tensors()
            for name, watcher in watchers.items():
                require_finite(name, kept[name], entry.relative)
                watcher.update(kept[name])
            for name, weigher in anchors.items():
                weigher.update(kept[name])
        advance()
    calibration = Calibration(
        checkpoint_sha256=checkpoint.sha256,
        observer=DEFAULT_OBSERVER,
        images=hashes,
        unusual=dict(sorted(Counter(kinds).items())),
        views=list(VIEWS),
        tensors={
            name: TensorCalibration.model_validate(watcher.ranges())
            for name, watcher in watchers.items()
        },
        weights={},
        anchors={name: weigher.anchor() for name, weigher in anchors.items()},
        anchor_errors={name: weigher.errors.tolist() for name, weigher in anchors.items()},
    )
    return Observation(
        keep_trained(calibration, checkpoint), interpreter, images[:: _stride(images)]
    )


def with_errors(
    checkpoint: Checkpoint, observation: Observation, observer: ObserverName
) -> Calibration:
    """Choose an observer: its calibration, with what the integer graph then costs.

    Adds the error per tensor, the weights' scales and the agreement with the float network.
    """
    calibration = observation.calibration.model_copy(update={"observer": observer})
    float_model = observation.float_model
    graph = integer_graph(checkpoint, calibration, "fast")
    network = checkpoint.run.network
    quantised = {t.name: t for t in graph.tensors() if t.quantisation is not None}
    signal: dict[str, float] = dict.fromkeys(calibration.tensors, 0.0)
    noise: dict[str, float] = dict.fromkeys(calibration.tensors, 0.0)
    agreed: list[bool] = []
    for entry in observation.images:
        for view in _views(decode(entry.path), network.input_size, network.channels):
            logits = float_model.invoke(view.astype(np.float32))
            exact = float_model.tensors()
            stored = run_reference(graph, {graph.inputs[0].name: view[None]}, keep_all=True)
            output = stored[graph.outputs[0].name]
            agreed.append(int(output[0].argmax()) == int(logits[0].argmax()))
            for name in signal:
                if name in quantised and name in stored:
                    difference = quantised[name].real(stored[name]) - exact[name]
                    signal[name] += float(np.square(exact[name].astype(np.float64)).sum())
                    noise[name] += float(np.square(difference).sum())
    tensors = {
        name: tensor.model_copy(update={"sqnr_db": _decibels(signal[name], noise[name])})
        for name, tensor in calibration.tensors.items()
    }
    weights = {
        t.name: list(t.quantisation.scale)
        for t in graph.tensors()
        if t.data is not None and t.quantisation is not None and t.quantisation.axis is not None
        and t.dtype == "int8"
    }  # fmt: skip
    return calibration.model_copy(
        update={"tensors": tensors, "weights": weights, "agreement": float(np.mean(agreed))}
    )


def _views(image: Image, size: tuple[int, int], channels: int = 3) -> Iterator[NDArray[Any]]:
    yield whole_view(image, size, channels)
    yield cell_view(image, size, channels)


def _stride(images: Sequence[LabelledImage]) -> int:
    return max(1, len(images) // ERROR_IMAGES)


def _decibels(signal: float, noise: float) -> float | None:
    if signal == 0 or noise == 0:
        return None
    return round(10 * float(np.log10(signal / noise)), 2)
