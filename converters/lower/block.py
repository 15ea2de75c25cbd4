"""The CLA block and what is in it, but for attention and KAN."""

from __future__ import annotations

from torch import nn

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.activations import hard_swish
from qlvit_edge.converters.idioms.arithmetic import add, mean_hw
from qlvit_edge.converters.idioms.convolutions import (
    conv,
    dense,
    depthwise,
    max_pool_3x3_s2,
    pad,
)
from qlvit_edge.converters.idioms.dynamic import dynamic_depthwise
from qlvit_edge.converters.idioms.softmax import log2_softmax
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.attention import lower_attention
from qlvit_edge.converters.lower.constants import (
    Affine,
    after_affine,
    linear,
    lower_norm,
    real,
    trained_range,
)
from qlvit_edge.converters.lower.kan import lower_kan
from qlvit_edge.converters.lower.pooling_attention import lower_pooling_attention
from qlvit_edge.model.block import CLABlock
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.mlp import MLP
from qlvit_edge.model.pooling_attention import PoolingAttention
from qlvit_edge.model.quantisers import QAct
from qlvit_edge.presence import present


def lower_block(block: CLABlock, writer: Writer, x: Tensor, name: str) -> Tensor:
    """Norm → convolution → Qact → 1×1 → attention → residual → KAN or MLP."""
    normal, rest = lower_norm(block.norm, writer, x, f"{name}/norm")
    attended = _lower_attended(block, rest, writer, normal, name)
    if block.skip is not None:
        weight, bias = after_affine(block.skip, rest)
        x = conv(writer, normal, weight[:, None, None, :], bias, name=f"{name}/skip")
    if block.skip_pool is not None:
        x = max_pool_3x3_s2(writer, x, name=f"{name}/skip_pool")
    x = add(writer, x, attended, name=f"{name}/residual")
    if block.mlp is not None:
        x = add(writer, x, lower_mlp(block.mlp, writer, x, f"{name}/mlp"), name=f"{name}/out")
    if block.kan is not None:
        x = add(writer, x, lower_kan(block.kan, writer, x, f"{name}/kan"), name=f"{name}/out")
    return x


def _lower_attended(block: CLABlock, norm: Affine, writer: Writer, x: Tensor, name: str) -> Tensor:
    """The branch to the attention's projection, from what `lower_norm` gave."""
    attention = f"{name}/attention"
    if block.mapping is None:
        if not isinstance(block.attention, PoolingAttention):
            raise TypeError(f"{name}: only pooling attention goes without a mapping")
        return lower_pooling_attention(block.attention, norm, writer, x, attention)
    if block.dynamic is not None:
        mapped = lower_dynamic_conv(block.dynamic, norm, writer, x, f"{name}/dynamic")
    else:
        convolution = present(block.convolution, f"the convolution of {name}")
        mapped = lower_local_conv(convolution, norm, writer, x, f"{name}/convolution")
    activation = present(block.activation, f"the activation of {name}")
    x = lower_activation(activation, writer, mapped, f"{name}/activation")
    if isinstance(block.attention, PoolingAttention):
        return lower_pooling_attention(block.attention, block.mapping, writer, x, attention)
    return lower_attention(block.attention, block.mapping, writer, x, attention)


def lower_local_conv(
    convolution: nn.Conv2d, norm: Affine, writer: Writer, x: Tensor, name: str
) -> Tensor:
    """V0's depthwise 3×3; the norm before it folds as into a dynamic convolution."""
    scale, shift = norm
    kernel = real(convolution.weight)[:, 0]  # (C, 3, 3)
    return depthwise(
        writer,
        pad(writer, x, 1, 1, 1, 1, name=f"{name}/padded"),
        (kernel * scale[:, None, None]).transpose(1, 2, 0),
        real(convolution.bias) + shift * kernel.sum((1, 2)),
        name=name,
    )


def lower_dynamic_conv(
    dynamic: DynamicConv, norm: Affine, writer: Writer, x: Tensor, name: str
) -> Tensor:
    """``Σ_k π_k (W_k * x + b_k)``, eq. 1-3: K convolutions with constant weights, then mixed.

    The map is padded with zeros *before* the norm, so the norm folds into every W_k: BatchNorm
    whole; LayerNorm's gain and offset, since padding standardises to zero.
    """
    scale, shift = norm
    squeeze = real(dynamic.squeeze.weight)
    pooled = mean_hw(writer, x, name=f"{name}/pooled")
    hidden = dense(
        writer,
        pooled,
        squeeze * scale,
        squeeze @ shift + real(dynamic.squeeze.bias),
        relu=True,
        name=f"{name}/squeeze",
    )
    temperature = float(dynamic.temperature)
    z = dense(
        writer,
        hidden,
        real(dynamic.excite.weight) / temperature,
        real(dynamic.excite.bias) / temperature,
        name=f"{name}/excite",
    )
    pi = log2_softmax(writer, z, 3, name=f"{name}/pi")
    padded = pad(writer, x, 1, 1, 1, 1, name=f"{name}/padded")
    kernels = real(dynamic.weight)  # (K, C, 3, 3)
    return dynamic_depthwise(
        writer,
        padded,
        pi,
        (kernels * scale[:, None, None]).transpose(0, 2, 3, 1),
        real(dynamic.bias) + shift * kernels.sum((2, 3)),
        name=name,
    )


def lower_activation(activation: QAct, writer: Writer, x: Tensor, name: str) -> Tensor:
    """Hard-swish, in the range that its quantiser was trained with."""
    return hard_swish(writer, x, name=name, fixed_range=trained_range(activation.quantiser))


def lower_mlp(mlp: MLP, writer: Writer, x: Tensor, name: str) -> Tensor:
    """Norm → 1×1 → Qact → 1×1."""
    normal, rest = lower_norm(mlp.norm, writer, x, f"{name}/norm")
    weight, bias = after_affine(mlp.expand, rest)
    expanded = conv(writer, normal, weight[:, None, None, :], bias, name=f"{name}/expand")
    activated = lower_activation(mlp.activation, writer, expanded, f"{name}/activation")
    weight, bias = linear(mlp.reduce)
    return conv(writer, activated, weight[:, None, None, :], bias, name=name)
