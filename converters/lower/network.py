"""Stem, blocks, head; and what cannot be lowered."""

from __future__ import annotations

from torch import nn

from qlvit_edge.converters.graph import Graph, Tensor
from qlvit_edge.converters.idioms.arithmetic import mean_hw
from qlvit_edge.converters.idioms.convolutions import conv, dense, depthwise, pad
from qlvit_edge.converters.idioms.image import input_image
from qlvit_edge.converters.idioms.layout import reshape
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.block import lower_block
from qlvit_edge.converters.lower.constants import affine, lower_norm, real, trained_range
from qlvit_edge.errors import ConversionError
from qlvit_edge.model.block import CLABlock
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.kan import KAN, CubicKANLayer, LinearKANLayer
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.mlp import MLP
from qlvit_edge.model.norms import ChannelNorm
from qlvit_edge.model.pooling_attention import PoolingAttention
from qlvit_edge.model.qlvit import QLViT, QuantisedHead
from qlvit_edge.model.quantisers import QAct, UniformQuantiser
from qlvit_edge.model.stem import Stem

# Modules that lowering knows, with the plain layers inside them.
_LOWERED: tuple[type[nn.Module], ...] = (
    QLViT,
    Stem,
    CLABlock,
    DynamicConv,
    LinearAttention,
    PoolingAttention,
    KAN,
    LinearKANLayer,
    CubicKANLayer,
    MLP,
    QuantisedHead,
    QAct,
    UniformQuantiser,
    ChannelNorm,
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.MaxPool2d,
    nn.ModuleList,
)


def lower(network: QLViT, writer: Writer) -> Graph:
    """Write ``network`` (in evaluation mode) down and return the graph.

    Its outputs are the logits (1, classes) and the features (1, 1, 1, width) that the head's linear
    layer reads: a tensor that is there anyway, so that giving it costs no operation.

    Raises:
        ConversionError: a module has no lowering; named before any work is done.
        CalibrationError: the scales lack a tensor's range.
    """
    require_lowerable(network)
    height, width = network.config.input_size
    pixels = input_image(writer, height, width, network.config.channels)
    x = lower_stem(network.stem, writer, pixels, "stem")
    for index, block in enumerate(network.blocks):
        if not isinstance(block, CLABlock):
            raise TypeError(f"block{index} is a {type(block).__name__}")
        x = lower_block(block, writer, x, f"block{index}")
    logits, features = lower_head(network.head, writer, x, "head")
    writer.output(reshape(writer, logits, (1, network.config.classes), name="logits"))
    writer.output(features)
    return writer.build()


def require_lowerable(network: nn.Module) -> None:
    """Refuse a network that holds a module without a lowering.

    A subclass may compute something else, so a module must be exactly of a known type.

    Raises:
        ConversionError: naming the first such module.
    """
    for name, module in network.named_modules():
        if type(module) not in _LOWERED:
            raise ConversionError(
                name or "network",
                f"{type(module).__name__} has no integer lowering",
                "build the network of QLViT's own modules",
            )


def lower_stem(stem: Stem, writer: Writer, image: Tensor, name: str) -> Tensor:
    """Pad, normalise, convolve: one convolution on the padded raw image."""
    side = stem.padding
    padded = pad(writer, image, side, side, side, side, name=f"{name}/padded")
    scale, shift = affine(stem.norm)
    weight = real(stem.convolution.weight).transpose(0, 2, 3, 1)  # (O, kh, kw, channels)
    std, mean = real(stem.std).reshape(-1), real(stem.mean).reshape(-1)
    normalised = weight / std
    bias = shift - scale * (normalised * mean).sum((1, 2, 3))
    return conv(
        writer,
        padded,
        normalised * scale[:, None, None, None],
        bias,
        stride=stem.convolution.stride[0],
        name=name,
    )


def lower_head(head: QuantisedHead, writer: Writer, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Global average → norm → quantiser → linear layer with quantised weights.

    Returns:
        The logits (1, 1, 1, classes), and the features (1, 1, 1, width) that they are made of.
    """
    pooled = mean_hw(writer, x, name=f"{name}/pooled")
    normal, (scale, shift) = lower_norm(head.norm, writer, pooled, f"{name}/norm")
    features = depthwise(
        writer,
        normal,
        scale[None, None, :],
        shift,
        name=f"{name}/features",
        fixed_range=trained_range(head.quantiser),
    )
    weight = real(head.weight())
    logits = dense(writer, features, weight, real(head.linear.bias), name=f"{name}/logits")
    return logits, features
