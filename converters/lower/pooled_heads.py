"""What both attentions begin and end with: pooled queries, keys and values; the projection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.arithmetic import add
from qlvit_edge.converters.idioms.convolutions import conv, depthwise, pad
from qlvit_edge.converters.idioms.layer_norm import standardise
from qlvit_edge.converters.idioms.layout import heads_to_map, reshape
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.constants import affine, linear, real
from qlvit_edge.model.norms import ChannelNorm
from qlvit_edge.model.pooled_heads import PooledHeads

Depthwise = Callable[..., Tensor]
"""Called as :func:`~qlvit_edge.converters.idioms.convolutions.depthwise` is."""


def lower_pool(
    pool: nn.Conv2d,
    norm: nn.BatchNorm2d | ChannelNorm,
    heads: int,
    writer: Writer,
    x: Tensor,
    name: str,
    *,
    factor: float = 1.0,
    last: Depthwise = depthwise,
) -> Tensor:
    """Depthwise 3×3 and norm over each head's width; heads share kernel and norm.

    Args:
        pool: (d, 1, 3, 3), padding 1.
        norm: over d.
        heads: of `x`.
        writer: takes the operations.
        x: (1, H, W, heads·d).
        name: begins the names of what is made; the part after the last ``/`` is what is pooled.
        factor: of the result.
        last: writes the last of the convolutions.
    """
    padded = pad(writer, x, 1, 1, 1, 1, name=f"{name}_padded")
    before, _, part = name.rpartition("/")
    pooled = f"{before}/pooled_{part}"
    kernel = real(pool.weight)[:, 0].transpose(1, 2, 0)  # (3, 3, d)
    stride = pool.stride[0]
    if not isinstance(norm, ChannelNorm):
        scale, shift = affine(norm)
        weight, bias = np.tile(kernel * scale, heads), np.tile(shift, heads)
        return last(writer, padded, weight * factor, bias * factor, stride=stride, name=pooled)
    plain = depthwise(writer, padded, np.tile(kernel, heads), stride=stride, name=f"{pooled}/plain")
    _, height, width, channels = plain.shape
    apart = reshape(
        writer, plain, (1, height, width * heads, channels // heads), name=f"{pooled}/heads"
    )
    standard = standardise(writer, apart, norm.epsilon, name=f"{pooled}/norm")
    together = reshape(writer, standard, plain.shape, name=f"{pooled}/together")
    gain = np.tile(real(norm.weight), heads)[None, None, :]
    offset = np.tile(real(norm.bias), heads)
    return last(writer, together, gain * factor, offset * factor, name=pooled)


def lower_projected(
    attention: PooledHeads, writer: Writer, product: Tensor, query: Tensor, name: str
) -> Tensor:
    """Add the pooled query to what its heads attended to, and project the sum.

    Args:
        attention: has the projection.
        writer: takes the operations.
        product: (1, heads, H·W, d), what each query attended to.
        query: (1, H, W, heads·d), pooled.
        name: begins the names of what is made.
    """
    _, height, width, _ = query.shape
    attended = heads_to_map(writer, product, height, width, name=f"{name}/attended")
    joined = add(writer, attended, query, name=f"{name}/joined")
    weight, bias = linear(attention.project)
    return conv(writer, joined, weight[:, None, None, :], bias, name=f"{name}/project")
