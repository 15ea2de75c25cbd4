"""Whether a model's input and outputs are what its metadata say: image, logits, features."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import numpy as np

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.document import Subgraph, Tensor
from qlvit_edge.modelfile.guard import Guard

_REMEDY = "convert the model again"
_LINEAR = frozenset({"CONV_2D", "FULLY_CONNECTED"})
_PASSING = frozenset({"RESHAPE", "SQUEEZE"})

Makers = Mapping[Hashable, tuple[str, Hashable]]
"""By what a tensor is known by: the operator that makes it, and what that one reads first."""


def require_ends(
    graph: Subgraph,
    *,
    image: tuple[int, int, int],
    classes: int,
    features: int | None,
    subject: object,
) -> None:
    """Refuse a graph that has another input or other outputs, or has them in another order.

    Args:
        graph: the whole model.
        image: height, width and channels of the input.
        classes: how many logits there are.
        features: how many features there are; None where there is no second output.
        subject: what the error calls the model.

    Raises:
        ModelFileError: naming what differs.
    """
    inputs = [graph.tensors[index] for index in graph.inputs]
    outputs = [graph.tensors[index] for index in graph.outputs]
    shapes = [tensor.shape for tensor in (*inputs, *outputs)]
    require_shapes(shapes, image=image, classes=classes, features=features, subject=subject)
    if features is not None:
        makers: Makers = {
            made: (operator.name, operator.inputs[0])
            for operator in graph.operators
            if operator.inputs
            for made in operator.outputs
        }
        require_features(outputs[1], subject)
        require_head(graph.outputs[0], graph.outputs[1], makers, subject)


def require_shapes(
    shapes: Iterable[tuple[int, ...]],
    *,
    image: tuple[int, int, int],
    classes: int,
    features: int | None,
    subject: object,
) -> None:
    """Refuse shapes of inputs and outputs that are not those of one image and its answer.

    Features may have more ones between, (1, 1, 1, features): they are what a convolution reads.

    Raises:
        ModelFileError: naming what they are to be and what they are.
    """
    expected: list[tuple[int, ...]] = [(1, *image), (1, classes)]
    what = "input and output"
    if features is not None:
        expected.append((1, features))
        what = "input, logits and features"
    found = list(shapes)
    flat = [
        *found[:2],
        *((1, shape[3]) if len(shape) == 4 and shape[:3] == (1, 1, 1) else shape
          for shape in found[2:]),
    ]  # fmt: skip
    if flat != expected:
        raise ModelFileError(
            subject, f"its metadata say {what} {expected}, the graph says {found}", _REMEDY
        )


def require_features(tensor: Tensor, subject: object) -> None:
    """Refuse features that are not int8 values of one scale.

    Raises:
        ModelFileError: naming their type.
    """
    if tensor.dtype != "INT8":
        raise ModelFileError(subject, f"its features are {tensor.dtype}, not INT8", _REMEDY)
    if tensor.scale is None:
        raise ModelFileError(subject, "its features have no single scale", _REMEDY)


def require_guard(guard: Guard, logits: Tensor, features: Tensor, *, subject: object) -> None:
    """Refuse a guard that was found on logits or features whose steps stand for other values.

    Raises:
        ModelFileError: naming both.
    """
    for what, tensor, scale, zero_point in (
        ("features", features, guard.feature_scale, guard.feature_zero_point),
        ("logits", logits, guard.logit_scale, logits.zero_point),
    ):
        if not is_of(tensor.scale, tensor.zero_point, scale, zero_point):
            finding = (
                f"its guard judges {what} of scale {scale:.6g}, zero point {zero_point}; the file "
                f"gives scale {tensor.scale}, zero point {tensor.zero_point}"
            )
            raise ModelFileError(subject, finding, _REMEDY)


def is_of(
    scale: float | None, zero_point: int | None, of_scale: float, of_zero_point: int | None
) -> bool:
    """Tell whether a tensor has a scale, as float32 holds it, and a zero point."""
    same = scale is not None and np.float32(scale) == np.float32(of_scale)
    return bool(same) and zero_point == of_zero_point


def require_head(logits: Hashable, features: Hashable, makers: Makers, subject: object) -> None:
    """Refuse a second output that is not the tensor of which a linear layer makes the first.

    No other tensor of as many values will do, nor logits and features the other way round.

    Args:
        logits: what the first output is known by.
        features: what the second one is known by.
        makers: of all tensors of the model that operators make.
        subject: what the error calls the model.

    Raises:
        ModelFileError: it is another one.
    """
    seen: set[Hashable] = set()
    tensor, after_layer = logits, False
    while not (after_layer and tensor == features):
        name, source = makers.get(tensor, ("", None))
        if tensor in seen or not (name in _PASSING or (name in _LINEAR and not after_layer)):
            raise ModelFileError(
                subject, "its second output is not what the layer of its logits reads", _REMEDY
            )
        seen.add(tensor)
        after_layer = after_layer or name in _LINEAR
        tensor = source
