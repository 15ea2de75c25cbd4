"""Linear attention with pooled queries and, where the network says so, keys and values."""

from __future__ import annotations

import math

from torch import nn

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.activations import sigmoid
from qlvit_edge.converters.idioms.arithmetic import matmul
from qlvit_edge.converters.idioms.convolutions import conv
from qlvit_edge.converters.idioms.layout import map_to_channel_heads, map_to_heads
from qlvit_edge.converters.idioms.softmax import log2_softmax, matmul_probabilities
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.constants import composition
from qlvit_edge.converters.lower.pooled_heads import lower_pool, lower_projected
from qlvit_edge.model.linear_attention import LinearAttention


def lower_attention(
    attention: LinearAttention, mapping: nn.Conv2d, writer: Writer, x: Tensor, name: str
) -> Tensor:
    """``sigmoid(Q) (sigmoid(K)ᵀ softmax(V)) / √d_k``, eq. 8; Kᵀ V first."""
    heads, depth = attention.heads, attention.head_width

    def project(part: str) -> Tensor:
        weight, bias = composition(getattr(attention, part), mapping)
        return conv(writer, x, weight[:, None, None, :], bias, name=f"{name}/{part}")

    query = lower_pool(
        attention.pool, attention.pool_norm, heads, writer, project("query"), f"{name}/query"
    )
    q = map_to_heads(
        writer, sigmoid(writer, query, name=f"{name}/sigmoid_q"), heads, name=f"{name}/q"
    )
    key = project("key")
    if attention.pools_keys:
        key = lower_pool(attention.key_pool, attention.key_norm, heads, writer, key, f"{name}/key")
    k = map_to_channel_heads(
        writer, sigmoid(writer, key, name=f"{name}/sigmoid_k"), heads, name=f"{name}/k"
    )
    value = project("value")
    if attention.pools_keys:
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
    product = matmul(writer, q, key_value, name=f"{name}/product")
    return lower_projected(attention, writer, product, query, name)
