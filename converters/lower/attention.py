"""Linear attention with pooled queries and, where the network says so, keys and values."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.activations import sigmoid
from qlvit_edge.converters.idioms.arithmetic import add, matmul
from qlvit_edge.converters.idioms.convolutions import conv, depthwise, pad
from qlvit_edge.converters.idioms.layer_norm import standardise
from qlvit_edge.converters.idioms.layout import (
    heads_to_map,
    map_to_channel_heads,
    map_to_heads,
    reshape,
)
from qlvit_edge.converters.idioms.softmax import log2_softmax, matmul_probabilities
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.constants import affine, composition, linear, real
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.norms import ChannelNorm


def lower_attention(
    attention: LinearAttention, mapping: nn.Conv2d, writer: Writer, x: Tensor, name: str
) -> Tensor:
    """``sigmoid(Q) (sigmoid(K)ᵀ softmax(V)) / √d_k``, eq. 8; Kᵀ V first."""
    heads, depth = attention.heads, attention.head_width
    projections = {
        part: composition(getattr(attention, part), mapping) for part in ("query", "key", "value")
    }

    def project(part: str) -> Tensor:
        weight, bias = projections[part]
        return conv(writer, x, weight[:, None, None, :], bias, name=f"{name}/{part}")

    query = lower_pool(
        attention.pool, attention.pool_norm, heads, writer, project("query"), f"{name}/query"
    )
    q = map_to_heads(
        writer, sigmoid(writer, query, name=f"{name}/sigmoid_q"), heads, name=f"{name}/q"
    )
    key = project("key")
    if attention.kv_stride > 1:
        key = lower_pool(attention.key_pool, attention.key_norm, heads, writer, key, f"{name}/key")
    k = map_to_channel_heads(
        writer, sigmoid(writer, key, name=f"{name}/sigmoid_k"), heads, name=f"{name}/k"
    )
    value = project("value")
    if attention.kv_stride > 1:
        value = lower_pool(
            attention.value_pool, attention.value_norm, heads, writer, value, f"{name}/value"
        )
    v = map_to_channel_heads(writer, value, heads, name=f"{name}/v")
    key_value = matmul_probabilities(
        writer,
        k,
        log2_softmax(writer, v, 3, name=f"{name}/softmax_v"),
        adjoint_p=True,
        symmetric=True,
        factor=1 / math.sqrt(depth),
        name=f"{name}/key_value",
    )
    attended = heads_to_map(
        writer,
        matmul(writer, q, key_value, name=f"{name}/product"),
        query.shape[1],
        query.shape[2],
        name=f"{name}/attended",
    )
    joined = add(writer, attended, query, name=f"{name}/joined")
    weight, bias = linear(attention.project)
    return conv(writer, joined, weight[:, None, None, :], bias, name=f"{name}/project")


def lower_pool(
    pool: nn.Conv2d,
    norm: nn.BatchNorm2d | ChannelNorm,
    heads: int,
    writer: Writer,
    x: Tensor,
    name: str,
) -> Tensor:
    """Depthwise 3×3 and norm over each head's width; heads share kernel and norm.

    Args:
        pool: (d, 1, 3, 3), padding 1.
        norm: over d.
        heads: of `x`.
        writer: takes the operations.
        x: (1, H, W, heads·d).
        name: begins the names of what is made; the part after the last ``/`` is what is pooled.
    """
    padded = pad(writer, x, 1, 1, 1, 1, name=f"{name}_padded")
    before, _, part = name.rpartition("/")
    pooled = f"{before}/pooled_{part}"
    kernel = real(pool.weight)[:, 0].transpose(1, 2, 0)  # (3, 3, d)
    stride = pool.stride[0]
    if not isinstance(norm, ChannelNorm):
        scale, shift = affine(norm)
        return depthwise(
            writer,
            padded,
            np.tile(kernel * scale, heads),
            np.tile(shift, heads),
            stride=stride,
            name=pooled,
        )
    plain = depthwise(writer, padded, np.tile(kernel, heads), stride=stride, name=f"{pooled}/plain")
    _, height, width, channels = plain.shape
    apart = reshape(
        writer, plain, (1, height, width * heads, channels // heads), name=f"{pooled}/heads"
    )
    standard = standardise(writer, apart, norm.epsilon, name=f"{pooled}/norm")
    together = reshape(writer, standard, plain.shape, name=f"{pooled}/together")
    return depthwise(
        writer,
        together,
        np.tile(real(norm.weight), heads)[None, None, :],
        np.tile(real(norm.bias), heads),
        name=pooled,
    )
