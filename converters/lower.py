"""Lowering: a trained network, written down operation by operation for the device.

One registered function per network module, in the order of that module's ``forward``, so
that the two read side by side. A module without one is refused by name. Constants are
folded in float64: BatchNorm into the convolution after it, mean and standard deviation into
the stem, the 1×1 mapping into the query, key and value projections, τ into π's last layer,
1/√d_k into a scale.
"""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qlvit_edge.converters.builder import GraphBuilder
from qlvit_edge.converters.graph import Graph, Tensor
from qlvit_edge.errors import ConversionError
from qlvit_edge.model.block import CLABlock
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.kan import KAN, KANLayer, LinearKANLayer
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.qlvit import QLViT, QuantisedHead
from qlvit_edge.model.quantisers import QAct, UniformQuantiser, quantised_weight
from qlvit_edge.model.stem import Stem

Array = NDArray[np.float64]


def lower(network: QLViT, builder: GraphBuilder) -> Graph:
    """Write ``network`` (in evaluation mode) down with ``builder`` and return the graph.

    Raises:
        ConversionError: a module has no lowering; named before any work is done.
        CalibrationError: the builder lacks a tensor's range.
    """
    require_lowerable(network)
    height, width = network.config.input_size
    x = lower_stem(network.stem, builder, builder.input_image(height, width), "stem")
    for index, block in enumerate(network.blocks):
        assert isinstance(block, CLABlock)
        x = lower_block(block, builder, x, f"block{index}")
    logits = lower_head(network.head, builder, x, "head")
    builder.output(builder.reshape(logits, (1, network.config.classes), name="logits"))
    return builder.build()


def require_lowerable(network: QLViT) -> None:
    """Refuse a network that holds a module without a lowering.

    Raises:
        ConversionError: naming the first such module.
    """
    for name, module in network.named_modules():
        if not isinstance(module, _LOWERED):
            raise ConversionError(
                name,
                f"{type(module).__name__} has no integer lowering",
                "train with --kan linear",
            )


def lower_stem(stem: Stem, builder: GraphBuilder, image: Tensor, name: str) -> Tensor:
    """Pad, normalise, convolve: one convolution on the padded raw image."""
    side = stem.padding
    padded = builder.pad(image, side, side, side, side, name=f"{name}/padded")
    scale, shift = _affine(stem.norm)
    weight = _real(stem.convolution.weight).transpose(0, 2, 3, 1)  # (O, kh, kw, 3)
    std, mean = _real(stem.std).reshape(3), _real(stem.mean).reshape(3)
    normalised = weight / std
    bias = shift - scale * (normalised * mean).sum((1, 2, 3))
    return builder.conv(
        padded,
        normalised * scale[:, None, None, None],
        bias,
        stride=stem.convolution.stride[0],
        name=name,
    )


def lower_block(block: CLABlock, builder: GraphBuilder, x: Tensor, name: str) -> Tensor:
    """Norm → dynamic convolution → Qact → 1×1 → linear attention → residual → KAN."""
    norm = _affine(block.norm)
    mapped = lower_dynamic_conv(block.dynamic, norm, builder, x, f"{name}/dynamic")
    activated = builder.hard_swish(
        mapped, name=f"{name}/activation", fixed_range=_range(block.activation.quantiser)
    )
    attended = lower_attention(
        block.attention, block.mapping, builder, activated, f"{name}/attention"
    )
    if block.skip is not None:
        weight, bias = _after_affine(block.skip, norm)
        x = builder.conv(x, weight[:, None, None, :], bias, name=f"{name}/skip")
    if block.skip_pool is not None:
        x = builder.max_pool_3x3_s2(x, name=f"{name}/skip_pool")
    x = builder.add(x, attended, name=f"{name}/residual")
    return builder.add(x, lower_kan(block.kan, builder, x, f"{name}/kan"), name=f"{name}/out")


def lower_dynamic_conv(
    dynamic: DynamicConv, norm: tuple[Array, Array], builder: GraphBuilder, x: Tensor, name: str
) -> Tensor:
    """``Σ_k π_k (W_k * x + b_k)``, eq. 1-3: K convolutions with constant weights, then mixed.

    The map is padded with zeros *before* the norm, so the norm folds into every W_k.
    """
    scale, shift = norm
    squeeze = _real(dynamic.squeeze.weight)
    pooled = builder.mean_hw(x, name=f"{name}/pooled")
    hidden = builder.dense(
        pooled,
        squeeze * scale,
        squeeze @ shift + _real(dynamic.squeeze.bias),
        relu=True,
        name=f"{name}/squeeze",
    )
    temperature = float(dynamic.temperature)
    z = builder.dense(
        hidden,
        _real(dynamic.excite.weight) / temperature,
        _real(dynamic.excite.bias) / temperature,
        name=f"{name}/excite",
    )
    pi = builder.log2_softmax(z, 3, name=f"{name}/pi")
    padded = builder.pad(x, 1, 1, 1, 1, name=f"{name}/padded")
    kernels = _real(dynamic.weight)  # (K, C, 3, 3)
    return builder.dynamic_depthwise(
        padded,
        pi,
        (kernels * scale[:, None, None]).transpose(0, 2, 3, 1),
        _real(dynamic.bias) + shift * kernels.sum((2, 3)),
        name=name,
    )


def lower_attention(
    attention: LinearAttention, mapping: nn.Conv2d, builder: GraphBuilder, x: Tensor, name: str
) -> Tensor:
    """``sigmoid(Q) (sigmoid(K)ᵀ softmax(V)) / √d_k``, eq. 8; Kᵀ V first."""
    heads, depth = attention.heads, attention.head_width
    projections = {
        part: _composed(getattr(attention, part), mapping) for part in ("query", "key", "value")
    }

    def project(part: str) -> Tensor:
        weight, bias = projections[part]
        return builder.conv(x, weight[:, None, None, :], bias, name=f"{name}/{part}")

    scale, shift = _affine(attention.pool_norm)
    kernel = _real(attention.pool.weight)[:, 0] * scale[:, None, None]  # (d, 3, 3)
    padded = builder.pad(project("query"), 1, 1, 1, 1, name=f"{name}/query_padded")
    query = builder.depthwise(
        padded,
        np.tile(kernel.transpose(1, 2, 0), heads),
        np.tile(shift, heads),
        stride=attention.pool.stride[0],
        name=f"{name}/pooled_query",
    )
    q = builder.map_to_heads(
        builder.sigmoid(query, name=f"{name}/sigmoid_q"), heads, name=f"{name}/q"
    )
    k = builder.map_to_channel_heads(
        builder.sigmoid(project("key"), name=f"{name}/sigmoid_k"), heads, name=f"{name}/k"
    )
    v = builder.map_to_channel_heads(project("value"), heads, name=f"{name}/v")
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
    weight, bias = _linear(attention.project)
    return builder.conv(joined, weight[:, None, None, :], bias, name=f"{name}/project")


def lower_kan(kan: KAN, builder: GraphBuilder, x: Tensor, name: str) -> Tensor:
    """``KAN(X) = (Φ_1 ∘ Φ_0) X``, eq. 13; Φ_0 gives positions on the grid of Φ_1 at once."""
    hidden = lower_kan_layer(kan.down, builder, x, f"{name}/down", following=kan.up)
    return lower_kan_layer(kan.up, builder, hidden, f"{name}/up", on_grid=True)


@singledispatch
def lower_kan_layer(
    layer: nn.Module,
    builder: GraphBuilder,
    x: Tensor,
    name: str,
    *,
    on_grid: bool = False,
    following: KANLayer | None = None,
) -> Tensor:
    """``out_q = Σ_p φ_qp(x_p)``, eq. 11 and 12, for one kind of basis.

    Args:
        layer: the layer; the first dispatched argument.
        builder: takes the operations.
        x: (1, H, W, I).
        name: name of the result.
        on_grid: `x` holds positions on the layer's grid already.
        following: give positions on the grid of the layer that follows, saturated there.
    """
    raise ConversionError(name, f"{type(layer).__name__} has no integer lowering", "use another")


@lower_kan_layer.register
def _lower_linear_kan(
    layer: LinearKANLayer,
    builder: GraphBuilder,
    x: Tensor,
    name: str,
    *,
    on_grid: bool = False,
    following: KANLayer | None = None,
) -> Tensor:
    """Ramps between knots, then the slopes of every φ as a 1×1 convolution."""
    values = _real(layer.knot_values())  # (O, I, knots)
    slopes, bias = np.diff(values, axis=2), values[:, :, 0].sum(1)
    fixed_range = None
    if following is not None:
        scale, shift = _grid_position(following)
        slopes, bias = slopes * scale[:, None, None], bias * scale + shift
        fixed_range = (0.0, float(following.intervals))
    factor, offset = (1.0, 0.0) if on_grid else _grid_position(layer)
    return builder.kan_layer(
        x,
        scale=factor,
        shift=offset,
        knots=np.arange(layer.intervals + 1),
        weight=slopes.transpose(0, 2, 1),  # (O, segments, I)
        bias=bias,
        name=name,
        fixed_range=fixed_range,
    )


def _grid_position(layer: KANLayer) -> tuple[Array, Array]:
    """Return (scale, shift) of a layer's norm, in intervals from the grid's first knot."""
    scale, shift = _affine(layer.norm)
    return scale / layer.step, (shift + layer.reach) / layer.step


def lower_head(head: QuantisedHead, builder: GraphBuilder, x: Tensor, name: str) -> Tensor:
    """Global average → norm → quantiser → linear layer with quantised weights."""
    pooled = builder.mean_hw(x, name=f"{name}/pooled")
    scale, shift = _affine(head.norm)
    features = builder.depthwise(
        pooled,
        scale[None, None, :],
        shift,
        name=f"{name}/features",
        fixed_range=_range(head.quantiser),
    )
    weight = _real(quantised_weight(head.linear.weight))
    return builder.dense(features, weight, _real(head.linear.bias), name=f"{name}/logits")


def _real(tensor: torch.Tensor | None) -> Array:
    """Return a tensor as float64 NumPy."""
    assert tensor is not None
    return np.asarray(tensor.detach().cpu().double().numpy())


def _affine(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[Array, Array]:
    """Return (scale, shift) of a BatchNorm in evaluation: ``norm(x) = scale · x + shift``."""
    scale = _real(norm.weight) / np.sqrt(_real(norm.running_var) + norm.eps)
    return scale, _real(norm.bias) - scale * _real(norm.running_mean)


def _linear(layer: nn.Conv2d) -> tuple[Array, Array]:
    """Return weight (O, I) and bias (O,) of a 1×1 convolution."""
    return _real(layer.weight)[:, :, 0, 0], _real(layer.bias)


def _after_affine(layer: nn.Conv2d, affine: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return weight and bias of a 1×1 convolution that follows ``scale · x + shift``."""
    weight, bias = _linear(layer)
    return weight * affine[0], bias + weight @ affine[1]


def _composed(outer: nn.Conv2d, inner: nn.Conv2d) -> tuple[Array, Array]:
    """Return weight and bias of two 1×1 convolutions in a row as one."""
    outer_weight, outer_bias = _linear(outer)
    inner_weight, inner_bias = _linear(inner)
    return outer_weight @ inner_weight, outer_bias + outer_weight @ inner_bias


def _range(quantiser: UniformQuantiser) -> tuple[float, float]:
    """Return the range that a quantiser was trained with."""
    return float(quantiser.low), float(quantiser.high)


# Modules that the functions above know, with the plain layers inside them.
_LOWERED = (
    QLViT,
    Stem,
    CLABlock,
    DynamicConv,
    LinearAttention,
    KAN,
    LinearKANLayer,
    QuantisedHead,
    QAct,
    UniformQuantiser,
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.MaxPool2d,
    nn.ModuleList,
)
