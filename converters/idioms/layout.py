"""Values keep their meaning, only their places change: shapes, permutations, padding, boxes.

All arithmetics are alike here, and the functions take anything that operations are written to.
"""

from __future__ import annotations

from collections.abc import Sequence

from qlvit_edge.converters.graph import Emitter, Quantisation, Tensor
from qlvit_edge.converters.idioms.constants import integers
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.relabel import Relabel
from qlvit_edge.converters.ops.shape import Pad, Reshape, Slice, Transpose
from qlvit_edge.errors import ConversionError

Amounts = tuple[int, int]

_MOST_JOINED = 5  # tensors; a CONCATENATION of more is left to the builtin kernel


def reshape(writer: Emitter, x: Tensor, shape: Sequence[int], *, name: str) -> Tensor:
    """Give `x` another shape of as many elements; the leading 1 stays."""
    target = integers(f"{name}/shape", shape)
    return writer.emit(Reshape(inputs=(x, target), name=name, quantisation=x.quantisation))


def relabel(
    writer: Emitter, x: Tensor, shape: Sequence[int], quantisation: Quantisation, *, name: str
) -> Tensor:
    """Give the bytes of an int8 `x` another shape and another meaning."""
    target = integers(f"{name}/shape", shape)
    return writer.emit(Relabel(inputs=(x, target), name=name, quantisation=quantisation))


def transpose(writer: Emitter, x: Tensor, permutation: Sequence[int], *, name: str) -> Tensor:
    """Permute dimensions; the leading one stays in front."""
    order = integers(f"{name}/permutation", permutation)
    return writer.emit(Transpose(inputs=(x, order), name=name, quantisation=x.quantisation))


def pad_map(writer: Emitter, x: Tensor, amounts: tuple[Amounts, Amounts], *, name: str) -> Tensor:
    """Surround a map (1, H, W, C) with real zeros: (above, below), (left, right)."""
    table = integers(f"{name}/amounts", [(0, 0), *amounts, (0, 0)])
    return writer.emit(Pad(inputs=(x, table), name=name, quantisation=x.quantisation))


def box(
    writer: Emitter, x: Tensor, begin: Sequence[int], size: Sequence[int], *, name: str
) -> Tensor:
    """Cut a box out of `x`."""
    corners = integers(f"{name}/begin", begin), integers(f"{name}/size", size)
    return writer.emit(Slice(inputs=(x, *corners), name=name, quantisation=x.quantisation))


def map_to_heads(writer: Emitter, x: Tensor, heads: int, *, name: str) -> Tensor:
    """Split a map (1, H, W, heads·d) into (1, heads, H·W, d)."""
    _, height, width, channels = x.shape
    depth = _depth(channels, heads, name)
    if heads == 1:
        return reshape(writer, x, (1, 1, height * width, channels), name=name)
    split = reshape(writer, x, (1, height * width, heads, depth), name=f"{name}/split")
    return transpose(writer, split, (0, 2, 1, 3), name=name)


def map_to_channel_heads(writer: Emitter, x: Tensor, heads: int, *, name: str) -> Tensor:
    """Split a map (1, H, W, heads·d) into (1, heads, d, H·W), tokens last.

    A softmax over tokens runs about twice as fast in this layout, its sums being contiguous.
    """
    _, height, width, channels = x.shape
    depth, tokens = _depth(channels, heads, name), height * width
    flat = reshape(writer, x, (1, tokens, channels), name=f"{name}/tokens")
    turned = transpose(writer, flat, (0, 2, 1), name=f"{name}/turned")
    return reshape(writer, turned, (1, heads, depth, tokens), name=name)


def heads_to_map(writer: Emitter, x: Tensor, height: int, width: int, *, name: str) -> Tensor:
    """Join (1, heads, H·W, d) into a map (1, H, W, heads·d)."""
    _, heads, _, depth = x.shape
    if heads > 1:
        x = transpose(writer, x, (0, 2, 1, 3), name=f"{name}/joined")
    return reshape(writer, x, (1, height, width, heads * depth), name=name)


def _depth(channels: int, heads: int, name: str) -> int:
    if channels % heads:
        raise ConversionError(name, f"{channels} channels, {heads} heads", "must divide")
    return channels // heads


def concatenate(writer: Emitter, parts: Sequence[Tensor], axis: int, *, name: str) -> Tensor:
    """Join tensors of one scale along an axis, as many at a time as XNNPACK takes."""
    joined = list(parts)
    while len(joined) > 1:
        group, rest = joined[:_MOST_JOINED], joined[_MOST_JOINED:]
        part = f"{name}/first{len(rest)}" if rest else name
        quantisation = group[0].quantisation
        operation = Concatenation(
            inputs=tuple(group), name=part, quantisation=quantisation, axis=axis
        )
        joined = [writer.emit(operation), *rest]
    return joined[0]
