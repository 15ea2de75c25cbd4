"""The network that is trained: forward the integer graph itself, backward its float twin."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.converters.graph import Array, Graph
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.softmax import softmax_axes
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.shape import Pad, Reshape, Transpose
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.quantised.ranges import TrainedRanges
from qlvit_edge.quantised.twin import Held, followed_graph, run_twin

_MOVES = (MaxPool2D, Pad, Reshape, Transpose)


class Student(nn.Module):
    """A network and its ranges, as the integers that they become.

    BatchNorm stays in evaluation: its statistics are constants on the device, its gain and
    offset are trained.

    Attributes:
        network: whose parameters are trained.
        ranges: of its tensors.
        form: of the integer softmax.
    """

    def __init__(self, network: QLViT, ranges: TrainedRanges, form: Form) -> None:
        super().__init__()
        self.network = network.eval()
        self.ranges = ranges
        self.form: Form = form

    def train(self, mode: bool = True) -> Student:
        """Stay in evaluation, see the class's text."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def integer_graph(self) -> Graph:
        """Return the integer graph of the weights and ranges as they are now."""
        return lower(self.network, Writer("student", Int8(self.ranges, self.form)))

    def forward(self, views: NDArray[np.uint8]) -> Tensor:
        """Classify (B, H, W, channels) as a device does; returns real logits (B, classes).

        Raises:
            ConversionError: the network has no lowering or no derivative.
        """
        device = next(self.network.parameters()).device
        integers = self.integer_graph()
        stored = run_reference(
            integers, {integers.inputs[0].name: views}, arithmetic="xnnpack", keep_all=True
        )
        graph, expressions = followed_graph(self.network)
        held = held_values(integers, stored, graph, self.ranges.ends(), device)
        images = torch.from_numpy(views).to(device).float()
        return run_twin(graph, expressions, images, held)[graph.outputs[0].name]


def held_values(
    integers: Graph,
    stored: dict[str, Array],
    twin: Graph,
    ends: dict[str, Tensor],
    device: torch.device,
) -> dict[str, Held]:
    """Return what a device holds of each quantity that the float twin has too.

    Inside a softmax both graphs go ways of their own.

    Args:
        integers: the integer graph.
        stored: its tensors, (B, …), by name.
        twin: the float graph.
        ends: of ranges that are trained, by name.
        device: where the twin runs.
    """
    sizes = {operation.name: operation.output.shape for operation in twin.operations}
    inside = tuple(f"{name}/" for name in softmax_axes(twin))
    found: dict[str, Held] = {}
    known: set[str] = set()
    for operation in integers.operations:
        tensor = operation.output
        name, quantisation = tensor.quantity, tensor.quantisation
        if isinstance(operation, _MOVES) and operation.inputs[0].quantity in known:
            known.add(name)  # the twin, too, only moves what it has
            continue
        if tensor.dtype != "int8" or quantisation is None or len(quantisation.scale) != 1:
            continue
        if sizes.get(name) != tensor.shape or name.startswith(inside):
            continue
        scale, zero_point = quantisation.scale[0] / tensor.multiple, quantisation.zero_point
        real = (stored[tensor.name].astype(np.float32) - zero_point) * np.float32(scale)
        extent = scale * (-128 - zero_point), scale * (127 - zero_point)
        trained = ends.get(name)
        if trained is None or not _are_ends(trained, extent):
            trained = torch.tensor(extent, dtype=torch.float64)
        known.add(name)
        found[name] = Held(torch.from_numpy(real).to(device), trained.to(device))
    return found


def _are_ends(trained: Tensor, extent: tuple[float, float]) -> bool:
    """Whether a tensor has the range of its name: not where that was made symmetric, or is nothing.

    The zero point is rounded, so both ends may be half a step off.
    """
    low, high = trained.detach().tolist()
    width = extent[1] - extent[0]
    return bool(max(abs(low - extent[0]), abs(high - extent[1])) < 0.01 * width)
