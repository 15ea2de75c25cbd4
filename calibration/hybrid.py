"""A network of which one layer computes in one arithmetic and all others in the other.

The integer graph and its float twin give equal names to equal quantities. Both are cut at the
layers' borders: what lies before the layer, the layer, and what lies after it run one after
the other, and at the borders real values become stored ones (rounded by the tensor's own
scale, as eq. 14) or stored ones real.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Array, Graph, Operation, Tensor
from qlvit_edge.converters.names import layer_of, layers_of
from qlvit_edge.converters.rewrites.parts import part, read_from_outside
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.inference.native import load_native, run_native
from qlvit_edge.integer.uniform import round_half_away


class Hybrid:
    """`around` but for one layer, which is `inside`'s; one of the two is integer."""

    def __init__(self, around: Graph, inside: Graph, layer: str) -> None:
        """Cut the graphs at the borders of ``layer`` and load the parts.

        Raises:
            ConversionError: the layer is not in both graphs, or a border has no counterpart.
        """
        order = layers_of(around)
        if layer not in order or layer not in layers_of(inside):
            raise ConversionError(layer, "no such layer", f"name one of {', '.join(order)}")
        place = order.index(layer)
        before = [op for op in around.operations if order.index(layer_of(op.name)) < place]
        after = [op for op in around.operations if order.index(layer_of(op.name)) > place]
        within = [op for op in inside.operations if layer_of(op.name) == layer]
        self._image = around.inputs[0]
        self._output = around.outputs[0]
        known_around, known_inside = _by_quantity(around), _by_quantity(inside)
        # What the layer reads, with what the rest holds of it; and the other way round.
        self._entering = [
            (_counterpart(tensor, known_around), tensor) for tensor in read_from_outside(within)
        ]
        read_after = read_from_outside(after)
        made = {op.name for op in before}
        leaving = dict.fromkeys(
            tensor
            for tensor in (*read_after, self._output)
            if layer_of(tensor.name) == layer and tensor.name not in made
        )
        self._leaving = [(_counterpart(tensor, known_inside), tensor) for tensor in leaving]
        needed = {tensor.name for tensor, _ in self._entering}
        self._before = _Part(before, {*needed, *(tensor.name for tensor in read_after)})
        self._within = _Part(within, {tensor.name for tensor, _ in self._leaving})
        self._after = _Part(after, {self._output.name})

    def __call__(self, view: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the real logits (classes,) of an image (h, w, channels)."""
        known: dict[str, Array] = {self._image.name: view[None].astype(self._image.dtype)}
        known |= self._before(known)
        entering = {
            own.name: _carry(known[other.name], other, own) for other, own in self._entering
        }
        left = self._within(entering)
        for other, own in self._leaving:
            if own is self._output:
                return np.asarray(other.real(left[other.name])[0], np.float64)
            known[own.name] = _carry(left[other.name], other, own)
        logits = self._after(known)[self._output.name]
        return np.asarray(self._output.real(logits)[0], np.float64)


def _by_quantity(graph: Graph) -> dict[str, Tensor]:
    return {tensor.quantity: tensor for tensor in graph.tensors()}


def _counterpart(tensor: Tensor, graph: Mapping[str, Tensor]) -> Tensor:
    """Return the tensor that stands for the same quantity."""
    if tensor.quantity not in graph:
        raise ConversionError(
            tensor.name, "stands at a layer's border in one arithmetic only", "report this as a bug"
        )
    return graph[tensor.quantity]


def _carry(values: Array, source: Tensor, target: Tensor) -> Array:
    """Values of ``source`` as ``target`` holds them: through the real numbers they stand for."""
    real = source.real(values) / source.multiple
    if target.quantisation is None:
        return np.asarray(real, np.float32)
    codes = round_half_away(real * target.multiple / target.scale) + target.zero_point
    limits = np.iinfo(target.dtype)
    return np.clip(codes, limits.min, limits.max).astype(target.dtype)


class _Part:
    """Some operations of a graph as a file of their own, on the default kernels."""

    def __init__(self, operations: list[Operation], wanted: Collection[str]) -> None:
        self._native = None
        graph = part("part", operations, wanted)
        if not graph.outputs:
            return
        self._native = load_native(write_tflite(graph), "part", Kernels.AUTO, "litert", 1)
        self._inputs = {str(d["name"]): int(d["index"]) for d in self._native.get_input_details()}
        self._outputs = {str(d["name"]): int(d["index"]) for d in self._native.get_output_details()}

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        if self._native is None:
            return {}
        for name, index in self._inputs.items():
            self._native.set_tensor(index, np.ascontiguousarray(values[name]))
        run_native(self._native, "part")
        return {name: self._native.get_tensor(index) for name, index in self._outputs.items()}
