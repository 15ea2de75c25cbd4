"""The CLA block and what is in it, but for attention and KAN."""

from __future__ import annotations

from qlvit_edge.converters.builder import GraphBuilder
from qlvit_edge.converters.graph import Tensor
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
from qlvit_edge.model.block import CLABlock
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.mlp import MLP


def lower_block(block: CLABlock, builder: GraphBuilder, x: Tensor, name: str) -> Tensor:
    """Norm → dynamic convolution → Qact → 1×1 → linear attention → residual → KAN or MLP."""
    normal, rest = lower_norm(block.norm, builder, x, f"{name}/norm")
    mapped = lower_dynamic_conv(block.dynamic, rest, builder, normal, f"{name}/dynamic")
    activated = builder.hard_swish(
        mapped,
        name=f"{name}/activation",
        fixed_range=trained_range(block.activation.quantiser),
    )
    attended = lower_attention(
        block.attention, block.mapping, builder, activated, f"{name}/attention"
    )
    if block.skip is not None:
        weight, bias = after_affine(block.skip, rest)
        x = builder.conv(normal, weight[:, None, None, :], bias, name=f"{name}/skip")
    if block.skip_pool is not None:
        x = builder.max_pool_3x3_s2(x, name=f"{name}/skip_pool")
    x = builder.add(x, attended, name=f"{name}/residual")
    if block.mlp is not None:
        x = builder.add(x, lower_mlp(block.mlp, builder, x, f"{name}/mlp"), name=f"{name}/out")
    if block.kan is not None:
        x = builder.add(x, lower_kan(block.kan, builder, x, f"{name}/kan"), name=f"{name}/out")
    return x


def lower_dynamic_conv(
    dynamic: DynamicConv, norm: Affine, builder: GraphBuilder, x: Tensor, name: str
) -> Tensor:
    """``Σ_k π_k (W_k * x + b_k)``, eq. 1-3: K convolutions with constant weights, then mixed.

    The map is padded with zeros *before* the norm, so the norm folds into every W_k: BatchNorm
    whole; LayerNorm's gain and offset, since padding standardises to zero.
    """
    scale, shift = norm
    squeeze = real(dynamic.squeeze.weight)
    pooled = builder.mean_hw(x, name=f"{name}/pooled")
    hidden = builder.dense(
        pooled,
        squeeze * scale,
        squeeze @ shift + real(dynamic.squeeze.bias),
        relu=True,
        name=f"{name}/squeeze",
    )
    temperature = float(dynamic.temperature)
    z = builder.dense(
        hidden,
        real(dynamic.excite.weight) / temperature,
        real(dynamic.excite.bias) / temperature,
        name=f"{name}/excite",
    )
    pi = builder.log2_softmax(z, 3, name=f"{name}/pi")
    padded = builder.pad(x, 1, 1, 1, 1, name=f"{name}/padded")
    kernels = real(dynamic.weight)  # (K, C, 3, 3)
    return builder.dynamic_depthwise(
        padded,
        pi,
        (kernels * scale[:, None, None]).transpose(0, 2, 3, 1),
        real(dynamic.bias) + shift * kernels.sum((2, 3)),
        name=name,
    )


def lower_mlp(mlp: MLP, builder: GraphBuilder, x: Tensor, name: str) -> Tensor:
    """Norm → 1×1 → Qact → 1×1."""
    normal, rest = lower_norm(mlp.norm, builder, x, f"{name}/norm")
    weight, bias = after_affine(mlp.expand, rest)
    expanded = builder.conv(normal, weight[:, None, None, :], bias, name=f"{name}/expand")
    activated = builder.hard_swish(
        expanded,
        name=f"{name}/activation",
        fixed_range=trained_range(mlp.activation.quantiser),
    )
    weight, bias = linear(mlp.reduce)
    return builder.conv(activated, weight[:, None, None, :], bias, name=name)
