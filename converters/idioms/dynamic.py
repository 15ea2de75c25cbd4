"""Dynamic convolution (eq. 1-3): K kernels, mixed by how much the image wants of each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.arithmetic import add, mul
from qlvit_edge.converters.idioms.constants import integers, stored
from qlvit_edge.converters.idioms.convolutions import depthwise, weights
from qlvit_edge.converters.idioms.layout import box, reshape
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.softmax import Probabilities, joined
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.elementwise import Mul
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.shape import Slice
from qlvit_edge.errors import ConversionError

_GROUP = 8  # channels that the kernels of a dynamic convolution share a group with
# Powers of two are rounded in the exponent: any of them together are at most this.
_LARGEST_SUM = math.sqrt(2.0)

Array = NDArray[np.float64]


def dynamic_depthwise(
    writer: Writer,
    x: Tensor,
    probabilities: Probabilities,
    kernels: ArrayLike,
    biases: ArrayLike,
    *,
    name: str,
) -> Tensor:
    """Return ``Σ_k p_k · (W_k * x + b_k)``, channel by channel, without padding.

    Float: K depthwise convolutions, products and sums, which are fastest. Int8: one grouped
    convolution and one product, rounded once; the maps ``W_k * x + b_k`` share one range, that of
    `name`/kernel0 and so on. Edge TPU, which has neither: as float, summed in pairs; rounds 3K - 1
    times where int8 rounds K + 1 times, but each map has a range of its own. The result is named
    `name`/mixed in all of them.

    Args:
        writer: takes the operations.
        x: (1, H, W, C).
        probabilities: p, over the last axis of (1, 1, 1, K).
        kernels: W, (K, kh, kw, C), real.
        biases: b, (K, C), real.
        name: begins the names of what is made.

    Raises:
        ConversionError: one kernel, for the Edge TPU.
    """
    each, offsets = np.asarray(kernels, np.float64), np.asarray(biases, np.float64)
    match writer.numerics:
        case Float():
            return _one_by_one(writer, x, probabilities, each, offsets, name)
        case EdgeTpu() as numerics:
            return _in_pairs(writer, numerics, x, probabilities, each, offsets, name)
        case Int8() as numerics:
            maps = _all_maps(writer, numerics, x, each, offsets, name)
            return _mixed(writer, numerics, maps, probabilities, len(each), name)


def _one_by_one(
    writer: Writer,
    x: Tensor,
    probabilities: Probabilities,
    kernels: Array,
    biases: Array,
    name: str,
) -> Tensor:
    shares = joined(writer, probabilities)
    one = integers(f"{name}/one", [1, 1, 1, 1])
    mixed: Tensor | None = None
    for k, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        part = f"{name}/kernel{k}"
        begin = integers(f"{part}/begin", [0, 0, 0, k])
        share = writer.emit(Slice(inputs=(shares, begin, one), name=f"{part}/probability"))
        total = f"{name}/mixed" if k == len(kernels) - 1 else f"{part}/sum"
        weighed = total if len(kernels) == 1 else f"{part}/weighed"
        term = mul(writer, depthwise(writer, x, kernel, bias, name=part), share, name=weighed)
        mixed = term if mixed is None else add(writer, mixed, term, name=total)
    assert mixed is not None
    return mixed


def _group(channels: int) -> int:
    return max(size for size in range(1, _GROUP + 1) if channels % size == 0)


def _all_maps(
    writer: Writer, int8: Int8, x: Tensor, kernels: Array, biases: Array, name: str
) -> Tensor:
    """Convolve with all kernels: (1, H, W, groups · K · group).

    A convolution of 8 channels a group, zero but for each kernel's own channel, gives all K maps
    of a group side by side, in the time of K depthwise convolutions.
    """
    count, rows, columns, channels = kernels.shape
    group = _group(channels)
    # Outputs in order of group, kernel, channel; each reads the channels of its group.
    grouped = kernels.reshape(count, rows, columns, -1, group).transpose(3, 0, 4, 1, 2)
    wide = (grouped[..., None] * np.eye(group)[:, None, None, :]).reshape(
        count * channels, rows, columns, group
    )
    offsets = biases.reshape(count, -1, group).transpose(1, 0, 2).ravel()
    ranges = [int8.scales.range(f"{name}/kernel{k}") for k in range(count)]
    shared = min(low for low, _ in ranges), max(high for _, high in ranges)
    return writer.emit(
        Conv2D(
            inputs=(x, *weights(writer, x, wide, offsets, 0, f"{name}/kernels")),
            name=f"{name}/kernels",
            quantisation=int8.activation(name, shared),
        )
    )


def _mixed(
    writer: Writer, int8: Int8, maps: Tensor, probabilities: Probabilities, count: int, name: str
) -> Tensor:
    """Let all groups of all positions, two in a row, meet one matrix of diagonals.

    Multiplying and adding map by map rounds 2K - 1 times, which costs 6 dB where large maps
    cancel. For 56×56×96 this and the convolution take 0.73 ms, where separate maps, joined and
    multiplied alike, take 0.93.
    """
    _, height, width, every = maps.shape
    channels = every // count
    group = _group(channels)
    groups = height * width * channels // group
    together = 2 if groups % 2 == 0 else 1  # 16 columns fill the product's registers
    inner = together * count * group
    left = reshape(writer, maps, (1, 1, groups // together, inner), name=f"{name}/groups")
    shares = joined(writer, probabilities)
    column = reshape(writer, shares, (1, 1, count, 1), name=f"{name}/column")
    ones = _diagonals(f"{name}/ones", together, count, group)
    diagonals = writer.emit(
        Mul(inputs=(ones, column), name=f"{name}/diagonals", quantisation=shares.quantisation)
    )
    right = reshape(writer, diagonals, (1, 1, inner, together * group), name=f"{name}/right")
    product = writer.emit(
        BatchMatMul(
            inputs=(left, right),
            name=f"{name}/product",
            quantisation=int8.activation(f"{name}/mixed"),
        )
    )
    return reshape(writer, product, (1, height, width, channels), name=f"{name}/mixed")


def _diagonals(name: str, together: int, count: int, group: int) -> Tensor:
    """Ones where row (g, k, c) meets column (g, c): (1, g, k, c · columns), flat."""
    rows = np.eye(together * group, dtype=np.int8).reshape(together, 1, group, -1)
    values = np.tile(127 * rows, (1, count, 1, 1)).reshape(1, together, count, -1)
    return stored(name, values, Quantisation((1 / 127,), 0))


def _in_pairs(
    writer: Writer,
    numerics: EdgeTpu,
    x: Tensor,
    probabilities: Probabilities,
    kernels: Array,
    biases: Array,
    name: str,
) -> Tensor:
    shares = joined(writer, probabilities)
    parts: list[tuple[Tensor, Range]] = []
    for k, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        plain = depthwise(writer, x, kernel, bias, name=f"{name}/kernel{k}")
        share = box(writer, shares, (0, 0, 0, k), (1, 1, 1, 1), name=f"{name}/share{k}")
        product = Mul(
            inputs=(plain, share), name=f"{name}/part{k}", quantisation=plain.quantisation
        )
        low, high = numerics.scales.range(f"{name}/kernel{k}")
        parts.append((writer.emit(product), (min(low, 0.0), max(high, 0.0))))
    while len(parts) > 2:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [_sum(writer, pair, name) if pair[1:] else pair[0] for pair in pairs]
    if len(parts) == 1:
        raise ConversionError(name, "one kernel", "a dynamic convolution mixes two or more")
    (a, _), (b, _) = parts
    return add(writer, a, b, name=f"{name}/mixed")


def _sum(writer: Writer, pair: list[tuple[Tensor, Range]], name: str) -> tuple[Tensor, Range]:
    (a, first), (b, second) = pair
    low, high = min(first[0], second[0]), max(first[1], second[1])
    part = a.name.rsplit("/", 1)[-1]
    extent = (_LARGEST_SUM * low, _LARGEST_SUM * high)
    return add(writer, a, b, name=f"{name}/sum/{part}", fixed_range=extent), (low, high)
