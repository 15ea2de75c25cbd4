"""From a checkpoint to its graphs."""

from __future__ import annotations

from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import Float, Int8, MapMixing
from qlvit_edge.converters.idioms.scales import ScaleRequests, Scales
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.network import lower
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.family import SoftmaxForm
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import Checkpoint


def integer_graph(
    checkpoint: Checkpoint, scales: Scales, softmax: Form, target: type[Int8] = Int8
) -> Graph:
    """Lower a checkpoint with its calibration into the integer graph.

    Args:
        checkpoint: the trained network.
        scales: its calibration.
        softmax: ``"fast"`` or ``"exact"``.
        target: the arithmetic, in the operators of its device.

    Raises:
        ConversionError: the network cannot be lowered.
        CalibrationError: a tensor has no range.
    """
    name = f"qlvit-{checkpoint.run.network.variant}-{checkpoint.run.network.size}"
    return lower(checkpoint.network, Writer(name, target(scales, softmax)))


def float_graph(network: QLViT, name: str, softmax: SoftmaxForm = "log2") -> Graph:
    """Lower a network into the float32 twin of its integer graph.

    Args:
        network: in evaluation mode.
        name: of the graph.
        softmax: in the codes of eq. 6, or plain.

    Raises:
        ConversionError: the network cannot be lowered.
    """
    return lower(network, Writer(name, Float(softmax)))


def ranges_needed(network: QLViT) -> list[str]:
    """Return the tensors whose range any integer graph takes from calibration, in order.

    Mixing maps asks for each kernel's map, as the Edge TPU does, and for all that int8 needs.
    """
    asked = ScaleRequests()
    lower(network, Writer("ranges", MapMixing(asked)))
    return asked.ranges
