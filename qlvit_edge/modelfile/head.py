"""The end of a network as its file has it: the last feature map, and how logits come of it.

A head averages a map over its height and width, may norm the averages and makes them features,
and a linear layer makes these the logits. Weights are read from the file, never from a checkpoint.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.modelfile.document import Document, Operator, Tensor
from qlvit_edge.modelfile.reader import read_document

Array = NDArray[np.float64]

_LINEAR = frozenset({"CONV_2D", "FULLY_CONNECTED"})
_PASSING = frozenset({"RESHAPE", "SQUEEZE"})
_INTEGERS = {"UINT8": "<u1", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"}
_DTYPES = {"FLOAT32": "<f4", **_INTEGERS}
_REMEDY = "give a model that `qlvit-edge convert` made"


@dataclass(frozen=True)
class Head:
    """What a file makes of its last feature map.

    ``features = gain · standard + offset`` and ``logits = weights · features + bias``, where
    ``standard`` are the averages of the map, or these brought to mean 0 and variance 1.

    Attributes:
        map_number: the map's number among the tensors.
        feature_map: the map, (1, h, w, channels).
        pooled: its averages.
        standard: what the gain multiplies; `pooled` itself where nothing is standardised.
        features: what the linear layer reads.
        logits: what it makes.
        gain: (channels,) real.
        offset: (channels,) real.
        weights: (classes, channels) real.
        bias: (classes,) real.
    """

    map_number: int
    feature_map: Tensor
    pooled: Tensor
    standard: Tensor
    features: Tensor
    logits: Tensor
    gain: Array
    offset: Array
    weights: Array
    bias: Array

    @property
    def standardises(self) -> bool:
        """Whether the averages are brought to mean 0 and variance 1, as LayerNorm does."""
        return self.standard is not self.pooled


def read_head(model: bytes, *, subject: object = "model") -> Head:
    """Find the head of a model file.

    Args:
        model: the file.
        subject: what errors call it.

    Raises:
        ModelFileError: the file is damaged, or its logits do not come of a map in that way.
        DeviceError: ai-edge-litert, whose schema is needed, is not installed.
    """
    document = read_document(model, subject=subject)
    try:
        return _Walk(document, model).head()
    except _OtherwiseError as error:
        finding = f"its answer is not read from one last feature map ({error})"
        raise ModelFileError(subject, finding, _REMEDY) from None


class _OtherwiseError(Exception):
    """The graph ends in another way."""


class _Walk:
    """A walk from the logits backwards; tensors go by their numbers."""

    def __init__(self, document: Document, model: bytes) -> None:
        self._graph = document.subgraphs[0]
        if len(document.subgraphs) != 1 or not self._graph.outputs:
            raise _OtherwiseError("it is not one graph with an output")
        self._makers = {made: op for op in self._graph.operators for made in op.outputs}
        self._model = model

    def head(self) -> Head:
        tensors = self._graph.tensors
        logits = self._beyond(self._graph.outputs[0])
        layer = self._makers.get(logits)
        if layer is None or layer.name not in _LINEAR:
            raise _OtherwiseError("no linear layer makes it")
        weights, bias = self._constants(layer, (tensors[logits].shape[-1], -1))
        features = standard = self._beyond(layer.inputs[0])
        channels = weights.shape[1]
        gain, offset = np.ones(channels), np.zeros(channels)
        norm = self._makers.get(features)
        if norm is not None and norm.name == "DEPTHWISE_CONV_2D":
            gain, offset = self._constants(norm, (-1,))
            standard = self._beyond(norm.inputs[0])
        average = self._average_before(standard)
        source = average.inputs[0]
        if {tensors[source].shape[-1], len(gain), len(offset)} != {channels}:
            raise _OtherwiseError("its layers have different numbers of channels")
        return Head(
            map_number=source,
            feature_map=tensors[source],
            pooled=tensors[average.outputs[0]],
            standard=tensors[standard],
            features=tensors[features],
            logits=tensors[logits],
            gain=gain,
            offset=offset,
            weights=weights,
            bias=bias,
        )

    def _beyond(self, number: int) -> int:
        """The tensor whose values `number` holds in another shape."""
        for _ in self._graph.operators:
            maker = self._makers.get(number)
            if maker is None or maker.name not in _PASSING:
                break
            number = maker.inputs[0]
        return number

    def _average_before(self, number: int) -> Operator:
        """The nearest average over height and width among what leads to a tensor."""
        waiting, seen = deque([number]), set[int]()
        while waiting:
            tensor = waiting.popleft()
            maker = self._makers.get(tensor)
            if maker is None or tensor in seen:
                continue
            seen.add(tensor)
            if self._averages_a_map(maker):
                return maker
            waiting.extend(maker.inputs)
        raise _OtherwiseError("nothing averages a map")

    def _averages_a_map(self, operator: Operator) -> bool:
        if operator.name != "MEAN" or len(operator.inputs) != 2 or min(operator.inputs) < 0:
            return False
        source, axes = (self._graph.tensors[index] for index in operator.inputs)
        is_made = operator.inputs[0] in self._makers
        return is_made and len(source.shape) == 4 and sorted(axes.values or ()) == [1, 2]

    def _constants(self, operator: Operator, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Real weights of a layer in a shape, and its real bias (n,)."""
        if operator.options.get("fused_activation") or len(operator.inputs) != 3:
            raise _OtherwiseError(f"{operator.name} does more than weigh and add")
        weights, bias = (self._real(index) for index in operator.inputs[1:])
        if weights.size % abs(int(np.prod(shape))) or not weights.size:
            raise _OtherwiseError(f"{operator.name} has weights of another shape")
        return weights.reshape(shape), bias.reshape(-1)

    def _real(self, number: int) -> Array:
        tensor = self._graph.tensors[number]
        dtype = _DTYPES.get(tensor.dtype)
        if number < 0 or not tensor.is_constant or dtype is None:
            raise _OtherwiseError("its weights are not constants")
        values = np.frombuffer(_constant_bytes(self._model, number), dtype).astype(np.float64)
        values = values.reshape(tensor.shape)
        if tensor.dtype == "FLOAT32":
            return values
        if not tensor.scales:
            raise _OtherwiseError("its weights have no scale")
        along = [1] * values.ndim
        along[tensor.axis or 0] = -1 if tensor.axis is not None else 1
        scales, zeros = (np.reshape(part, along) for part in (tensor.scales, tensor.zero_points))
        return np.asarray((values - zeros) * scales)


def _constant_bytes(model: bytes, number: int) -> bytes:
    """The bytes of a constant tensor of the first graph of a file that was read before.

    Raises:
        DeviceError: ai-edge-litert, whose schema is needed, is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise DeviceError("class maps", "need ai-edge-litert", "install it") from error
    try:
        file: Any = schema.Model.GetRootAs(model, 0)
        return bytes(file.Buffers(file.Subgraphs(0).Tensors(number).Buffer()).DataAsNumpy())
    except Exception as error:  # the accessors check nothing: struct, index and type errors
        raise _OtherwiseError(f"its weights cannot be read: {type(error).__name__}") from error


def dequantised(tensor: Tensor, stored: NDArray[Any]) -> Array:
    """Return the real values of what a tensor of one scale, or of floats, holds."""
    real = np.asarray(stored, np.float64)
    if tensor.scale is None or tensor.zero_point is None:
        return real
    return (real - tensor.zero_point) * tensor.scale


def limits(tensor: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest real value that a tensor can hold."""
    if tensor.scale is None or tensor.dtype not in _INTEGERS:
        return -np.inf, np.inf
    bounds = np.iinfo(_INTEGERS[tensor.dtype])
    low, high = dequantised(tensor, np.array([bounds.min, bounds.max]))
    return float(low), float(high)
