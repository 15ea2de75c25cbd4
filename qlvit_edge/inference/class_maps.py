"""Where in an image an integer model finds a class: class maps, in NumPy and without torch.

A class map is what the model's head makes of its last feature map position by position, before
the average: ``Σ_c w_c · (gain_c · x_c + offset_c) + bias``, whose mean over the positions is the
logit. Where a value is cut off at the end of its range, or a LayerNorm stands between, it is the
linear part around the average, with the same mean; its slopes are those of Grad-CAM.

The map is taken from the file itself: a copy of it has the map as an output, and must answer
byte for byte as the file does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.bundled import resolve_model
from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.classifier import Classification, Classifier, Picture
from qlvit_edge.inference.closing import Closing
from qlvit_edge.inference.interpreter import Interpreter, Kernels, Runtime
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.inference.twin import with_output
from qlvit_edge.modelfile.chain import is_chain
from qlvit_edge.modelfile.document import Tensor
from qlvit_edge.modelfile.head import Head, dequantised, limits, read_head
from qlvit_edge.modelfile.reader import read_bytes

Array = NDArray[np.float64]

_EPSILON = 1e-5
"""Added to the variance by the LayerNorm of the network family."""

_SLACK_STANDARD = 3.0
"""Steps by which an integer LayerNorm may miss the formula; at most 2.1 were measured."""


@dataclass(frozen=True)
class ClassMaps:
    """What a model says of an image, and where.

    Attributes:
        classification: the answer.
        maps: (classes, h, w), in logits: what each position of the last feature map speaks for
            each class; the mean over the positions is the class's logit but for `rounding`.
        labels: the classes, in the order of the maps.
        input_size: (height, width) of the model's input in pixels.
        rounding: (classes,): by how much the integers' rounding may move a logit.
        step: of a logit: maps that differ by no more are even.
    """

    classification: Classification
    maps: Array
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    rounding: Array
    step: float

    def of(self, label: str | None = None) -> Array:
        """Return the map (h, w) of a class; None: of the class that the model answers.

        Raises:
            ValueError: the model knows no such class.
        """
        label = self.classification.label if label is None else label
        if label not in self.labels:
            raise ValueError(f"{label!r} is none of the classes {', '.join(self.labels)}")
        return np.asarray(self.maps[self.labels.index(label)])


class ClassMapper(Closing):
    """Explains what a model file says; a context manager that ends the model's processes.

    Attributes:
        classifier: the model.
        path: its file.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        kernels: Kernels | str = Kernels.AUTO,
        runtime: Runtime = "litert",
        accept_at: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        """Load a model file, twice: as it is, and with its last feature map as an output.

        Args:
            model: a .tflite file that `qlvit-edge convert` made, or a model's name.
            kernels: ``"auto"``, ``"builtin"`` or ``"reference"``.
            runtime: ``"litert"`` or ``"tflite-runtime"``.
            accept_at: as of `Classifier`.
            allowance: what the file may ask for; None: the default.

        Raises:
            ModelFileError: as of `Classifier`; or it is a chain, or has no last feature map.
            DeviceError: the runtime is not installed.
        """
        path = resolve_model(model)
        content = read_bytes(path)
        if is_chain(content):
            raise ModelFileError(
                path, "a chain keeps its last feature map inside", "give the .tflite of the model"
            )
        self._head = read_head(content, subject=path)
        self.path = path
        self.classifier = Classifier(
            path, kernels=kernels, runtime=runtime, accept_at=accept_at, allowance=allowance
        )
        try:
            self._shown = Interpreter(
                with_output(content, self._head.map_number),
                kernels=Kernels(kernels),
                runtime=runtime,
                subject=path,
                isolated=True,
                allowance=allowance,
            )
        except BaseException:
            self.classifier.close()
            raise

    def explain(self, image: Picture) -> ClassMaps:
        """Classify the image of one cell, and say where its classes are.

        Args:
            image: such as `Classifier.classify` takes.

        Raises:
            DataError: it cannot be decoded.
            DeviceError: the runtime failed, or answers otherwise with the map as an output.
        """
        pixels = self.classifier.prepare(image)
        answer = self.classifier.infer(pixels)
        logits, stored = self._shown.invoke_all(as_input(pixels, self._shown.input))
        if answer.logits is None or not np.array_equal(logits.reshape(-1), answer.logits):
            raise DeviceError(
                self.path,
                "the runtime answers otherwise when it shows the last feature map",
                "choose --kernels builtin or reference",
            )
        maps, rounding = class_maps(self._head, stored[0])
        _require_same(self.path, self._head, maps, answer.logits, rounding)
        return ClassMaps(
            classification=answer,
            maps=maps,
            labels=self.classifier.labels,
            input_size=self.classifier.metadata.input_size,
            rounding=rounding,
            step=_step(self._head.logits),
        )

    def close(self) -> None:
        """End the model's processes; allowed any number of times."""
        self.classifier.close()
        self._shown.close()


def class_maps(head: Head, stored: NDArray[np.integer]) -> tuple[Array, Array]:
    """Return the class maps of a last feature map.

    Args:
        head: what is made of the map.
        stored: (h, w, channels), as the file has it.

    Returns:
        The maps (classes, h, w) and by how much rounding may move each logit (classes,).
    """
    x = dequantised(head.feature_map, stored)
    averages = x.mean((0, 1))
    pooled, keeps = _cut_off(averages, limits(head.pooled))
    standard, divisor = pooled, 1.0
    if head.standardises:
        divisor = float(np.sqrt(pooled.var() + _EPSILON))
        standard = (pooled - pooled.mean()) / divisor
    features, passes = _cut_off(head.gain * standard + head.offset, limits(head.features))
    slopes = head.weights * head.gain * passes  # by what the gain multiplies, (classes, channels)
    error = 0.5 * _step(head.pooled) * np.ones_like(features)
    if head.standardises:
        along = (slopes * standard).mean(1, keepdims=True)
        slopes = (slopes - slopes.mean(1, keepdims=True) - along * standard) / divisor
        error = _SLACK_STANDARD * _step(head.standard) + (2 + np.abs(standard)) * error / divisor
    logits = head.weights @ features + head.bias
    maps = logits[:, None, None] + np.einsum("kc,hwc->khw", slopes * keeps, x - averages)
    error = np.abs(head.gain) * error + 0.5 * _step(head.features)
    return maps, np.abs(head.weights) @ error + 0.5 * _step(head.logits)


def _cut_off(values: Array, ends: tuple[float, float]) -> tuple[Array, NDArray[np.bool_]]:
    """Bring values into a range; also tell which lay in it."""
    return np.clip(values, *ends), (values >= ends[0]) & (values <= ends[1])


def _step(tensor: Tensor) -> float:
    """The real value of one step of a tensor; 0 of floats."""
    return tensor.scale or 0.0


def _require_same(
    path: Path, head: Head, maps: Array, logits: NDArray[Any], rounding: Array
) -> None:
    """Refuse maps whose means are not the file's logits: its head computes something else.

    Raises:
        ModelFileError: naming the difference.
    """
    expected = np.clip(maps.mean((1, 2)), *limits(head.logits))
    away = np.abs(expected - dequantised(head.logits, logits))
    if (away > rounding).any():
        worst = int((away - rounding).argmax())
        raise ModelFileError(
            path,
            f"its class maps would miss the logit of class {worst} by {away[worst]:.3g}, rounding "
            f"explains {rounding[worst]:.3g}",
            "give a model that `qlvit-edge convert` made",
        )
