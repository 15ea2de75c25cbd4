"""Dynamic convolution that mixes maps: what `convert --int16-layers` keeps in int16.

All K maps are made side by side and then mixed, in operations that also compute in int16. In
int8 it executes two to three times the instructions of mixing the kernels on a Cortex.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.constants import stored
from qlvit_edge.converters.idioms.convolutions import weights
from qlvit_edge.converters.idioms.layout import reshape
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.elementwise import Mul
from qlvit_edge.converters.ops.matmul import BatchMatMul

_GROUP = 8  # channels that the kernels of a dynamic convolution share a group with

Array = NDArray[np.float64]


def mixed_maps(
    writer: Writer, int8: Int8, x: Tensor, shares: Tensor, kernels: Array, biases: Array, name: str
) -> Tensor:
    """Return ``Σ_k p_k · (W_k * x + b_k)`` by one grouped convolution and one product.

    The maps ``W_k * x + b_k`` share one range, that of `name`/kernel0 and so on; each is rounded,
    and their sum once.

    Args:
        writer: takes the operations.
        int8: its arithmetic.
        x: (1, H, W, C).
        shares: p, (1, 1, 1, K).
        kernels: W, (K, kh, kw, C), real.
        biases: b, (K, C), real.
        name: begins the names of what is made.
    """
    return _mixed(writer, int8, _all_maps(writer, int8, x, kernels, biases, name), shares, name)


def _group(channels: int) -> int:
    return max(size for size in range(1, _GROUP + 1) if channels % size == 0)


def _all_maps(
    writer: Writer, int8: Int8, x: Tensor, kernels: Array, biases: Array, name: str
) -> Tensor:
    """Convolve with all kernels: (1, H, W, groups · K · group).

    A convolution of 8 channels per group, zero but for each kernel's own channel, gives all K maps
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


def _mixed(writer: Writer, int8: Int8, maps: Tensor, shares: Tensor, name: str) -> Tensor:
    """Let all groups of all positions, two in a row, meet one matrix of diagonals.

    Multiplying and adding map by map rounds 2K - 1 times, which costs 6 dB where large maps
    cancel. For 56×56×96 this and the convolution take 0.73 ms, where separate maps, joined and
    multiplied alike, take 0.93.
    """
    _, height, width, every = maps.shape
    count = shares.shape[3]
    channels = every // count
    group = _group(channels)
    groups = height * width * channels // group
    together = 2 if groups % 2 == 0 else 1  # 16 columns fill the product's registers
    inner = together * count * group
    left = reshape(writer, maps, (1, 1, groups // together, inner), name=f"{name}/groups")
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
