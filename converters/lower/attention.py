"""Linear attention with pooled queries and, where the network says so, keys and values."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from qlvit_edge.converters.builder import GraphBuilder
from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.lower.constants import affine, composed, linear, real
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.norms import ChannelNorm


def lower_attention(
    attention: LinearAttention, mapping: nn.Conv2d, builder: GraphBuilder, x: Tensor, name: str
) -> Tensor:
    """``sigmoid(Q) (sigmoid(K)ᵀ softmax(V)) / √d_k``, eq. 8; Kᵀ V first."""
    heads, depth = attention.heads, attention.head_width
    projections = {
        part: composed(getattr(attention, part), mapping) for part in ("query", "key", "value")
    }

    def project(part: str) -> Tensor:
        weight, bias = projections[part]
        return builder.conv(x, weight[:, None, None, :], bias, name=f"{name}/{part}")

    query = lower_pool(
        attention.pool, attention.pool_norm, heads, builder, project("query"), f"{name}/query"
    )
    q = builder.map_to_heads(
        builder.sigmoid(query, name=f"{name}/sigmoid_q"), heads, name=f"{name}/q"
    )
    key = project("key")
    if attention.kv_stride > 1:
        key = lower_pool(attention.key_pool, attention.key_norm, heads, builder, key, f"{name}/key")
    k = builder.map_to_channel_heads(
        builder.sigmoid(key, name=f"{name}/sigmoid_k"), heads, name=f"{name}/k"
    )
    value = project("value")
    if attention.kv_stride > 1:
        value = lower_pool(
            attention.value_pool, attention.value_norm, heads, builder, value, f"{name}/value"
        )
    v = builder.map_to_channel_heads(value, heads, name=f"{name}/v")
    key_value = builder.log2_softmax(v, 3, name=f"{name}/softmax_v").matmul_left(
        k, adjoint_p=True, symmetric=True, name=f"{name}/key_value"
    )
    key_value = builder.scale_by(key_value, 1 / math.sqrt(depth), name=f"{name}/key_value_scaled")
    attended = builder.heads_to_map(
        builder.matmul(q, key_value, name=f"{name}/product"),
        query.shape[1],
        query.shape[2],
        name=f"{name}/attended",
    )
    joined = builder.add(attended, query, name=f"{name}/joined")
    weight, bias = linear(attention.project)
    return builder.conv(joined, weight[:, None, None, :], bias, name=f"{name}/project")


def lower_pool(
    pool: nn.Conv2d,
    norm: nn.BatchNorm2d | ChannelNorm,
    heads: int,
    builder: GraphBuilder,
    x: Tensor,
    name: str,
) -> Tensor:
    """Depthwise 3×3 and norm over each head's width; heads share kernel and norm.

    Args:
        pool: (d, 1, 3, 3), padding 1.
        norm: over d.
        heads: of `x`.
        builder: takes the operations.
        x: (1, H, W, heads·d).
        name: begins the names of what is made; the part after the last ``/`` is what is pooled.
    """
    padded = builder.pad(x, 1, 1, 1, 1, name=f"{name}_padded")
    before, _, part = name.rpartition("/")
    pooled = f"{before}/pooled_{part}"
    kernel = real(pool.weight)[:, 0].transpose(1, 2, 0)  # (3, 3, d)
    stride = pool.stride[0]
    if not isinstance(norm, ChannelNorm):
        scale, shift = affine(norm)
        return builder.depthwise(
            padded,
            np.tile(kernel * scale, heads),
            np.tile(shift, heads),
            stride=stride,
            name=pooled,
        )
    plain = builder.depthwise(padded, np.tile(kernel, heads), stride=stride, name=f"{pooled}/plain")
    _, height, width, channels = plain.shape
    apart = builder.reshape(
        plain, (1, height, width * heads, channels // heads), name=f"{pooled}/heads"
    )
    standard = builder.standardise(apart, norm.epsilon, name=f"{pooled}/norm")
    together = builder.reshape(standard, plain.shape, name=f"{pooled}/together")
    return builder.depthwise(
        together,
        np.tile(real(norm.weight), heads)[None, None, :],
        np.tile(real(norm.bias), heads),
        name=pooled,
    )
