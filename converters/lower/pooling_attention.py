"""Attention over pooled keys with decomposed relative positions: MViTv2 and V0 to V2."""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.attention import (
    Positions,
    least_key,
    placed_scores,
    right_operand,
    weighted_sum,
)
from qlvit_edge.converters.idioms.convolutions import conv, depthwise
from qlvit_edge.converters.idioms.layout import map_to_heads
from qlvit_edge.converters.idioms.numerics import EdgeTpu
from qlvit_edge.converters.idioms.plain_softmax import plain_softmax
from qlvit_edge.converters.idioms.softmax import log2_softmax
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.constants import Affine, after_affine, composition, real
from qlvit_edge.converters.lower.pooled_heads import lower_pool, lower_projected
from qlvit_edge.errors import ConversionError
from qlvit_edge.model.pooling_attention import PoolingAttention


def lower_pooling_attention(
    attention: PoolingAttention,
    before: nn.Conv2d | Affine,
    writer: Writer,
    x: Tensor,
    name: str,
) -> Tensor:
    """``softmax(Q Kᵀ / √d_k + E) V + Q``, E by row and column, then the projection.

    Args:
        attention: the module.
        before: what stands between `x` and the projections and folds into them, the 1×1 mapping
            or what is left of the norm.
        writer: takes the operations.
        x: (1, H, W, C).
        name: begins the names of what is made.

    Raises:
        ConversionError: for an Edge TPU.
    """
    if isinstance(writer.numerics, EdgeTpu):
        raise ConversionError(
            name,
            "attention over keys (mvitv2, v0, v1, v2) is not lowered for an Edge TPU",
            "convert with --target cpu, or train v3 or v4",
        )
    heads, depth = attention.heads, attention.head_width

    def project(part: str) -> Tensor:
        layer: nn.Conv2d = getattr(attention, part)
        weight, bias = (
            composition(layer, before)
            if isinstance(before, nn.Conv2d)
            else after_affine(layer, before)
        )
        return conv(writer, x, weight[:, None, None, :], bias, name=f"{name}/{part}")

    query = lower_pool(
        attention.pool,
        attention.pool_norm,
        heads,
        writer,
        project("query"),
        f"{name}/query",
        last=partial(depthwise, symmetric=True),
    )
    by_row, by_column = attention.positions()
    positions = Positions(real(by_row), real(by_column))
    scores_name = f"{name}/scores"
    key = lower_pool(
        attention.key_pool,
        attention.key_norm,
        heads,
        writer,
        project("key"),
        f"{name}/key",
        factor=1 / math.sqrt(depth),
        last=partial(right_operand, least=least_key(writer, query, positions, name=scores_name)),
    )
    scores = placed_scores(writer, query, key, positions, heads, name=scores_name)
    # Powers of two only where training had them: over few keys they would cost the others dearly.
    softmax = log2_softmax if attention.softmax_form == "log2" else plain_softmax
    probabilities = softmax(writer, scores, 3, name=f"{name}/softmax")
    value = lower_pool(
        attention.value_pool,
        attention.value_norm,
        heads,
        writer,
        project("value"),
        f"{name}/value",
        last=right_operand,
    )
    v = map_to_heads(writer, value, heads, name=f"{name}/v")
    product = weighted_sum(writer, probabilities, v, name=f"{name}/product")
    return lower_projected(attention, writer, product, query, name)
