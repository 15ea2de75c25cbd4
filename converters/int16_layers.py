"""Int16 layers: what `convert --int16-layers` does to the integer graph.

A chosen layer's activation is kept in int16 if an operation that has an int16 form makes it
and another one reads it. That one then computes in int16 too, whatever its layer, and its own
result goes back to int8 unless it is kept in int16 itself. Softmaxes, tables, sigmoids,
averages, pooling and what saturates (a gate, the ramps of a KAN) stay int8 and read an int16
activation as they did an int8 one. So does the head: training quantises its features, and its
logits are the int8 output.

An int8 activation becomes int16 without rounding. What changes is how finely results are
kept, and that nothing is cut off that calibration saw.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from qlvit_edge.converters.graph import Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.names import layer_of
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add, Mul
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.requantise import Requantize
from qlvit_edge.converters.ops.shape import Pad, PadV2, Reshape, Transpose
from qlvit_edge.integer.uniform import round_half_away
from qlvit_edge.presence import present

Range = tuple[float, float]

_COMPUTES = (Conv2D, DepthwiseConv2D, Add, Mul, BatchMatMul)
_MOVES = (Pad, Reshape, Transpose)
_LARGEST = 2**15 - 1
_EXACT = 128  # int8 less its zero point, times this, is an int16


@dataclass(frozen=True)
class Int16Graph:
    """A graph of which some activations are int16.

    Attributes:
        graph: the whole network.
        activations: by layer, the names of those in int16.
    """

    graph: Graph
    activations: dict[str, tuple[str, ...]]


def int16_candidates(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return, by layer in the graph's order, the activations that can be kept in int16.

    A layer that is not named has none.
    """
    readers: dict[str, list[Operation]] = {}
    for operation in graph.operations:
        for tensor in operation.inputs:
            readers.setdefault(tensor.name, []).append(operation)

    def is_read(name: str) -> bool:
        return any(
            _computes(reader) or (isinstance(reader, _MOVES) and is_read(reader.name))
            for reader in readers.get(name, ())
        )

    found: dict[str, list[str]] = {}
    for operation in graph.operations:
        output = operation.output
        layer = layer_of(operation.name)
        fits = _computes(operation) and _is_int8(output) and layer != "head"
        if fits and not _clips(operation) and is_read(operation.name):
            found.setdefault(layer, []).append(operation.name)
    return {layer: tuple(names) for layer, names in found.items()}


def with_int16_layers(
    graph: Graph, layers: Collection[str], ranges: Mapping[str, Range]
) -> Int16Graph:
    """Rewrite an int8 graph with the layers' activations in int16.

    Args:
        graph: as lowered.
        layers: what `int16_candidates` names; others are left as they are.
        ranges: smallest and largest real value by tensor name. An activation that is not
            among them keeps the range of its int8 form.

    Returns:
        The graph, its other tensors unchanged in name and scale; an int16 one keeps its name
        too, and its int8 form, where something reads it, is ``name/int8``.
    """
    activations = {
        layer: names for layer, names in int16_candidates(graph).items() if layer in layers
    }
    chosen = {name for names in activations.values() for name in names}
    writer = _Rewriter(graph, chosen, ranges)
    return Int16Graph(writer.write(), activations)


def _is_int8(tensor: Tensor) -> bool:
    return tensor.dtype == "int8" and tensor.quantisation is not None


def _computes(operation: Operation) -> bool:
    """Whether an operation has an int16 form: not if ±127 is where it must clip."""
    if isinstance(operation, Conv2D | DepthwiseConv2D):
        return operation.activation != "RELU_N1_TO_1"
    return isinstance(operation, _COMPUTES)


def _clips(operation: Operation) -> bool:
    """Whether int8 itself may be what clips negative values: its lowest one stands for 0."""
    if isinstance(operation, Conv2D | DepthwiseConv2D) and operation.activation == "RELU":
        return False
    return operation.output.zero_point == -128


class _Rewriter:
    """State of one graph being rewritten: the int8 and the int16 form of each activation."""

    def __init__(self, graph: Graph, chosen: set[str], ranges: Mapping[str, Range]) -> None:
        self.graph = graph
        self.chosen = chosen
        self.ranges = ranges
        self.operations: list[Operation] = []
        self.narrow: dict[str, Tensor] = {t.name: t for t in graph.inputs}
        self.wide: dict[str, Tensor] = {}
        # What is int16 first of all, whoever reads it in int8 too.
        self.int16_first: set[str] = set()
        self.was: dict[str, Quantisation | None] = {}

    def write(self) -> Graph:
        for operation in self.graph.operations:
            self.was[operation.name] = operation.quantisation
            reads_wide = any(t.name in self.int16_first for t in operation.inputs)
            if operation.name in self.chosen or (reads_wide and _computes(operation)):
                self.compute(operation)
            elif reads_wide and isinstance(operation, _MOVES) and not isinstance(operation, PadV2):
                x, *constants = operation.inputs
                x = self.as_int16(x)
                moved = replace(operation, inputs=(x, *constants), quantisation=x.quantisation)
                self.wide[operation.name] = self.emit(moved)
                self.int16_first.add(operation.name)
            else:
                inputs = tuple(self.as_int8(t) for t in operation.inputs)
                self.narrow[operation.name] = self.emit(replace(operation, inputs=inputs))
        outputs = tuple(self.as_int8(t) for t in self.graph.outputs)
        return Graph(self.graph.name, self.graph.inputs, outputs, tuple(self.operations))

    def compute(self, operation: Operation) -> None:
        """Write an operation in its int16 form."""
        name = operation.name
        if isinstance(operation, (Conv2D, DepthwiseConv2D)):
            x, weight, bias = operation.inputs
            x = self.as_int16(x)
            inputs: tuple[Tensor, ...] = (x, weight, _finer_bias(bias, weight, x, name))
        else:
            inputs = tuple(self.as_int16(t) for t in operation.inputs)
        finer = self.finer(operation.output)
        if name in self.chosen:
            self.wide[name] = self.emit(replace(operation, inputs=inputs, quantisation=finer))
            self.int16_first.add(name)
            return
        wide = replace(operation, inputs=inputs, name=f"{name}/int16", quantisation=finer)
        self.wide[name] = self.emit(wide)
        self.narrow[name] = self.requantize(self.wide[name], name, operation.quantisation)

    def finer(self, tensor: Tensor) -> Quantisation:
        """Scale of an activation's int16 form: as far as it was seen to reach, or its int8 does."""
        own = tensor.real(np.array([-128, 127], np.int8))
        reach = max(map(abs, (*own.tolist(), *self.ranges.get(tensor.name, ()))))
        return Quantisation((reach / _LARGEST,), 0)

    def as_int16(self, tensor: Tensor) -> Tensor:
        """The int16 form of an int8 tensor; made without rounding if there is none yet."""
        name, exact = tensor.name, Quantisation((tensor.scale / _EXACT,), 0)
        if name not in self.wide:
            if tensor.data is None:
                self.wide[name] = self.requantize(self.narrow[name], f"{name}/int16", exact)
            else:
                values = (tensor.data.astype(np.int16) - tensor.zero_point) * _EXACT
                shape, values = tensor.shape, values.astype(np.int16)
                self.wide[name] = Tensor(f"{name}/int16", shape, "int16", exact, values)
        return self.wide[name]

    def as_int8(self, tensor: Tensor) -> Tensor:
        """The int8 form of an activation; anything else as it is."""
        name = tensor.name
        if name not in self.narrow and name in self.wide and tensor.data is None:
            self.narrow[name] = self.requantize(self.wide[name], f"{name}/int8", self.was[name])
        return self.narrow.get(name, tensor)

    def requantize(self, x: Tensor, name: str, to: Quantisation | None) -> Tensor:
        return self.emit(Requantize(inputs=(x,), name=name, quantisation=to, multiple=x.multiple))

    def emit(self, operation: Operation) -> Tensor:
        self.operations.append(operation)
        return operation.output


def _finer_bias(bias: Tensor, weight: Tensor, x: Tensor, name: str) -> Tensor:
    """The bias at the scale of int16 products, in int64 as the kernels want it."""
    scales = np.asarray(present(weight.quantisation, "the weights' scale").scale) * x.scale
    stored = present(bias.data, "the bias")
    values = round_half_away(bias.real(stored) / scales).astype(np.int64)
    quantisation = Quantisation(tuple(scales.tolist()), 0, 0)
    return Tensor(f"{name}/bias/int64", values.shape, "int64", quantisation, values)
