"""One arithmetic for x86-64 and arm64, proved for every input by trying what can be rounded.

XNNPACK rounds a MUL and a MEAN differently on x86-64 and on arm64, near ties. A MUL has at most
22 786 different products and a MEAN of n values 255 · n + 1 sums, so both forms are tried on all of
them. Where any differ, the output's scale is moved by single float32 steps until none does: by
far less than what rounding to int8 loses. Tensors that must have the output's quantisation (a
RESHAPE's, say) move with it, and the scales of biases follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from qlvit_edge.converters.graph import Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D
from qlvit_edge.converters.ops.forms import TwoForms
from qlvit_edge.errors import ConversionError

_MOST_STEPS = 256
_MOST_ROUNDS = 8


@dataclass(frozen=True)
class OneArithmetic:
    """A graph that computes the same bytes on x86-64 and arm64.

    Attributes:
        graph: the graph.
        operations: how many of its operations have two forms.
        tried: how many accumulators were tried in both, of all operations together.
        moved: by tensor, the float32 steps by which its scale was moved.
    """

    graph: Graph
    operations: int
    tried: int
    moved: dict[str, int]


def one_arithmetic(graph: Graph) -> OneArithmetic:
    """Move scales until no product and no sum is rounded differently on x86-64 and arm64.

    Raises:
        ConversionError: a scale that would have to move cannot.
    """
    moved: dict[str, int] = {}
    for _ in range(_MOST_ROUNDS):
        together = _sharing(graph)
        scales: dict[str, float] = {}
        for operation in two_forms(graph):
            if operation.name in scales or _agree([operation]):
                continue
            names = together.get(operation.name, {operation.name})
            steps, scale = _nearest(operation, names, graph)
            scales |= dict.fromkeys(names, scale)
            moved[operation.name] = moved.get(operation.name, 0) + steps
        if not scales:
            tried = [operation.accumulators().size for operation in two_forms(graph)]
            return OneArithmetic(graph, len(tried), sum(tried), moved)
        # What reads a moved tensor has another factor now, and is tried again.
        graph = with_scales(graph, scales)
    raise ConversionError(
        "converted model",
        f"x86-64 and arm64 round {', '.join(scales)} differently after {_MOST_ROUNDS} rounds",
        "report this as a bug",
    )


def two_forms(graph: Graph) -> Iterator[TwoForms]:
    """The operations that kernels round differently on x86-64 and arm64."""
    for operation in graph.operations:
        if isinstance(operation, TwoForms) and operation.has_forms():
            yield operation


def with_scales(graph: Graph, scales: Mapping[str, float]) -> Graph:
    """Return the graph with other scales for some tensors, activations or constants.

    What constants store stays as it is; the scale of a constant bias follows its input's.

    Raises:
        ConversionError: an operation refuses its new scale, or an input's is to change.
    """
    for tensor in graph.inputs:
        if tensor.name in scales:
            raise ConversionError(tensor.name, "an input's scale is given", "leave it as it is")
    new: dict[str, Tensor] = {}
    operations: list[Operation] = []
    for operation in graph.operations:
        quantisation = operation.quantisation
        if operation.name in scales:
            quantisation = _scaled(operation.output, scales[operation.name])
        for tensor in operation.inputs:
            if tensor.data is not None and tensor.name in scales and tensor.name not in new:
                same = _scaled(tensor, scales[tensor.name])
                new[tensor.name] = replace(tensor, quantisation=same)
        inputs = tuple(new.get(tensor.name, tensor) for tensor in operation.inputs)
        if isinstance(operation, Conv2D | DepthwiseConv2D) and inputs[0] is not operation.inputs[0]:
            inputs = (*inputs[:2], _bias_of(*inputs))
        if quantisation != operation.quantisation or any(
            now is not before for now, before in zip(inputs, operation.inputs, strict=True)
        ):
            operation = replace(operation, inputs=inputs, quantisation=quantisation)
            new[operation.name] = operation.output
        operations.append(operation)
    outputs = tuple(new.get(tensor.name, tensor) for tensor in graph.outputs)
    return Graph(graph.name, graph.inputs, outputs, tuple(operations))


def _scaled(tensor: Tensor, scale: float) -> Quantisation:
    return Quantisation((scale,), tensor.zero_point)


def _bias_of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if bias.data is None or bias.quantisation is None or weight.quantisation is None:
        return bias
    scale = tuple(x.scale * scale for scale in weight.quantisation.scale)
    return replace(bias, quantisation=replace(bias.quantisation, scale=scale))


def _sharing(graph: Graph) -> dict[str, set[str]]:
    """Return, by name, all tensors that must have the same quantisation."""
    together: dict[str, set[str]] = {}
    for operation in graph.operations:
        for tensor in operation.sharing():
            joined = together.get(operation.name, {operation.name}) | together.get(
                tensor.name, {tensor.name}
            )
            together |= dict.fromkeys(joined, joined)
    return together


def _agree(operations: Iterable[TwoForms]) -> bool:
    return not any(operation.disagreements(operation.accumulators()) for operation in operations)


def _nearest(operation: TwoForms, names: set[str], graph: Graph) -> tuple[int, float]:
    """Find the nearest scale at which nothing that has it is rounded differently.

    Returns:
        float32 steps to it, and the scale.
    """
    makers = [other for other in two_forms(graph) if other.name in names]
    up = down = np.float32(operation.output.scale)
    for step in range(1, _MOST_STEPS + 1):
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(0))
        for steps, scale in ((step, float(up)), (-step, float(down))):
            candidates = (
                replace(maker, quantisation=_scaled(maker.output, scale)) for maker in makers
            )
            if _agree(candidates):
                return steps, scale
    raise operation.refuse(
        f"x86-64 and arm64 round it differently at {2 * _MOST_STEPS} scales around its own",
        "report this as a bug",
    )
