"""A network of which one layer computes in one arithmetic and all others in the other.

The integer graph and its float twin give equal names to equal quantities. Both are cut at the
layers' borders: what lies before the layer, the layer, and what lies after it run one after
the other, and at the borders real values become stored ones (rounded by the tensor's own
scale, as eq. 14) or stored ones real.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Array, Graph, Operation, Tensor
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.uniform import round_half_away
from qlvit_edge.runtime.interpreter import Kernels, load_native, run_native

# A hard-swish holds six times what it stands for; the convolutions that read it divide.
_MULTIPLES = {"sixfold": 6.0}


def layer_of(name: str) -> str:
    """Return the layer that a tensor belongs to: ``stem``, ``head`` or ``blockN/part``.

    Args:
        name: of a tensor in either graph.
    """
    first, *rest = name.split("/")
    if first.startswith("block") and rest:
        return f"{first}/{rest[0].removesuffix('_pool')}"
    return "head" if first in ("head", "logits") else "stem"


def layers_of(graph: Graph) -> list[str]:
    """Return the layers of a graph in their order."""
    return list(dict.fromkeys(layer_of(operation.name) for operation in graph.operations))


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
        self._around = {tensor.name: tensor for tensor in around.tensors()}
        self._inside = {tensor.name: tensor for tensor in inside.tensors()}
        output = around.outputs[0].name
        needed = [self._counterpart(name, self._around) for name in _read(within)]
        made = {op.name for op in before}
        read_after = _read(after)
        replaced = [n for n in (*read_after, output) if layer_of(n) == layer and n not in made]
        self._given = {name: self._counterpart(name, self._inside) for name in replaced}
        self._before = _Part(before, {*needed, *read_after})
        self._within = _Part(within, set(self._given.values()))
        self._after = _Part(after, {output})
        self._output = output

    def __call__(self, view: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the real logits (classes,) of an image (h, w, channels)."""
        image = self._around["image"]
        known: dict[str, Array] = {"image": view[None].astype(image.dtype)}
        known |= self._before(known)
        entering = {
            name: _carry(
                known[self._counterpart(name, self._around)],
                self._around[self._counterpart(name, self._around)],
                self._inside[name],
            )
            for name in self._within.reads
        }
        left = self._within(entering)
        if self._output in self._given:
            name = self._given[self._output]
            return np.asarray(self._inside[name].real(left[name])[0], np.float64)
        for name, other in self._given.items():
            known[name] = _carry(left[other], self._inside[other], self._around[name])
        logits = self._after(known)[self._output]
        return np.asarray(self._around[self._output].real(logits)[0], np.float64)

    def _counterpart(self, name: str, graph: Mapping[str, Tensor]) -> str:
        """Name of the tensor of ``graph`` that stands for the same quantity."""
        stem, _, last = name.rpartition("/")
        candidates = [name, *(f"{name}/{suffix}" for suffix in _MULTIPLES)]
        if last in _MULTIPLES:
            candidates.append(stem)
        for candidate in candidates:
            if candidate in graph:
                return candidate
        raise ConversionError(
            name, "stands at a layer's border in one arithmetic only", "report this as a bug"
        )


def _carry(values: Array, source: Tensor, target: Tensor) -> Array:
    """Values of ``source`` as ``target`` holds them: through the real numbers they stand for."""
    real = source.real(values) / _multiple(source.name)
    if target.quantisation is None:
        return np.asarray(real, np.float32)
    codes = round_half_away(real * _multiple(target.name) / target.scale) + target.zero_point
    limits = np.iinfo(target.dtype)
    return np.clip(codes, limits.min, limits.max).astype(target.dtype)


def _multiple(name: str) -> float:
    return _MULTIPLES.get(name.rpartition("/")[2], 1.0)


def _read(operations: Iterable[Operation]) -> list[str]:
    """Return what operations read and do not make themselves."""
    operations = list(operations)
    made = {operation.name for operation in operations}
    return list(
        dict.fromkeys(
            tensor.name
            for operation in operations
            for tensor in operation.inputs
            if tensor.data is None and tensor.name not in made
        )
    )


class _Part:
    """Some operations of a graph as a file of their own, on the default kernels.

    Attributes:
        reads: names of its inputs.
    """

    def __init__(self, operations: list[Operation], wanted: set[str]) -> None:
        tensors = {t.name: t for op in operations for t in op.inputs}
        self.reads = _read(operations)
        outputs = [op.output for op in operations if op.name in wanted]
        self._native = None
        if not outputs:
            return
        graph = Graph("part", tuple(tensors[n] for n in self.reads), tuple(outputs), (*operations,))
        self._native = load_native(write_tflite(graph), "part", Kernels.AUTO, "litert", 1)
        self._inputs = {str(d["name"]): int(d["index"]) for d in self._native.get_input_details()}
        self._outputs = {str(d["name"]): int(d["index"]) for d in self._native.get_output_details()}

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        if self._native is None:
            return {}
        for name, index in self._inputs.items():
            self._native.set_tensor(index, np.ascontiguousarray(values[name]))
        run_native(self._native)
        return {name: self._native.get_tensor(index) for name, index in self._outputs.items()}
