"""The float twin of a network: its derivative, at the values that a device holds.

The twin is the float graph that lowering writes, with constants that know how they follow from the
parameters. Tensors of equal name hold the same quantity in the float and in the integer graph:
wherever the integer graph has one, the twin goes on with the device's values, and the derivative
goes straight through the rounding. What is beyond a tensor's range has no derivative; its end has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qlvit_edge.converters import graph as graphs
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import Float, Rewrites
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.lower.traced import derivative_of, tracing
from qlvit_edge.model.family import SoftmaxForm
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.quantised.meanings import meaning

_LEAST_WIDTH = 1e-12


@dataclass(frozen=True)
class Held:
    """What a device holds of a quantity.

    Attributes:
        values: real, (B, …), float32.
        ends: (2,) lowest and highest real value that it can hold; a tensor with a derivative
            where the range is trained.
    """

    values: Tensor
    ends: Tensor


@dataclass(frozen=True)
class _Followed(Float):
    """The float arithmetic, which keeps what weights and biases follow from.

    Attributes:
        expressions: by name of the constant.
    """

    expressions: dict[str, Tensor] = field(default_factory=dict)
    rewrites: ClassVar[Rewrites] = ()

    def weights(
        self,
        x: graphs.Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[graphs.Tensor, graphs.Tensor]:
        """See `Float`."""
        self._follow(weight, f"{name}/weight")
        self._follow(bias, f"{name}/bias")
        return super().weights(x, np.asarray(weight), np.asarray(bias), axis, name)

    def matrices(self, values: NDArray[np.float64], name: str) -> graphs.Tensor:
        """See `Float`."""
        self._follow(values, name)
        return super().matrices(np.asarray(values), name)

    def _follow(self, values: NDArray[np.float64], name: str) -> None:
        expression = derivative_of(values)
        if expression is not None:
            self.expressions[name] = expression


def followed_graph(
    network: QLViT, softmax: SoftmaxForm = "log2"
) -> tuple[Graph, dict[str, Tensor]]:
    """Lower a network in evaluation mode to its float graph.

    Args:
        network: the network.
        softmax: in the codes of eq. 6, as on a device, or plain.

    Returns:
        The graph, and by name those constants that follow from parameters, float64.

    Raises:
        ConversionError: something in it cannot be lowered or has no derivative.
    """
    numerics = _Followed(softmax)
    with tracing():
        graph = lower(network, Writer("twin", numerics))
    return graph, numerics.expressions


def run_twin(
    graph: Graph,
    expressions: Mapping[str, Tensor],
    images: Tensor,
    held: Mapping[str, Held],
) -> dict[str, Tensor]:
    """Run a batch through the float twin, at the device's values.

    Args:
        graph: of `followed_graph`.
        expressions: of the same.
        images: (B, H, W, channels), float32, 0 … 255.
        held: by name of the quantity, what a device holds; none for the plain float network.

    Returns:
        The graph's outputs by name, (B, …).

    Raises:
        ConversionError: an operation has no derivative.
    """
    values: dict[str, Tensor] = {graph.inputs[0].name: images}
    for operation in graph.operations:
        inputs = [_operand(tensor, values, expressions, images) for tensor in operation.inputs]
        made = meaning(operation, inputs)
        there = held.get(operation.name)
        if there is not None:
            made = straight_through(made, there.values, there.ends)
        values[operation.name] = made
    return {tensor.name: values[tensor.name] for tensor in graph.outputs}


def _operand(
    tensor: graphs.Tensor,
    values: Mapping[str, Tensor],
    expressions: Mapping[str, Tensor],
    images: Tensor,
) -> Tensor:
    if tensor.data is None:
        return values[tensor.name]
    if tensor.name in expressions:
        return expressions[tensor.name].to(images.dtype)
    return torch.from_numpy(tensor.data).to(images.device)


def straight_through(value: Tensor, held: Tensor, ends: Tensor) -> Tensor:
    """Return ``held`` with the derivative of ``value`` inside the range.

    Args:
        value: what is rounded.
        held: what a device holds of it, of the same shape.
        ends: (2,) of the range; it may be trained.
    """
    made: Tensor = _StraightThrough.apply(value, held, ends)  # type: ignore[no-untyped-call]
    return made


class _StraightThrough(torch.autograd.Function):
    """Values that a device holds of others: the derivative passes inside the range.

    That of the range's ends is what moving them does: to values beyond, one to one; to those
    inside, by the rounding error in steps, of which the range has 255 (Jain et al., "Trained
    quantization thresholds", MLSys 2020).
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, held: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(value, held, ends)
        return held.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor | None]:
        (gradient,) = gradients
        value, held, ends = ctx.saved_tensors
        low, high = ends.to(value.dtype)
        width = (high - low).clamp(min=_LEAST_WIDTH)
        step = width / 255
        below, above = value < low - step / 2, value > high + step / 2
        passed = gradient.masked_fill(below | above, 0.0)
        if not ctx.needs_input_grad[2]:
            return passed, None, None
        rounding = (passed * (held - value)).sum() / width
        of_low = (gradient * below).sum() - rounding
        of_high = (gradient * above).sum() + rounding
        return passed, None, torch.stack([of_low, of_high]).to(ends.dtype)
