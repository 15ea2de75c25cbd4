"""Dynamic convolution (eq. 1-3): K kernels, mixed by how much the image wants of each."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.arithmetic import add, mul
from qlvit_edge.converters.idioms.constants import integer_full, integers
from qlvit_edge.converters.idioms.convolutions import depthwise, weights
from qlvit_edge.converters.idioms.layout import box, relabel, reshape
from qlvit_edge.converters.idioms.maps import mixed_maps
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8, MapMixing
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.softmax import Probabilities, joined, steps
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.convolution import Conv2D, DynamicDepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add, Mul, RightShift
from qlvit_edge.converters.ops.lookup import CastToInt32
from qlvit_edge.converters.ops.reduction import Sum
from qlvit_edge.converters.ops.relabel import Vector
from qlvit_edge.converters.ops.shape import Slice
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.mixture import largest_mixture
from qlvit_edge.integer.uniform import round_half_away
from qlvit_edge.presence import present

_BIAS_BITS = 7  # kept below a step of the accumulator: what a probability's int8 has
_LARGEST_BIAS = 2.0**22  # in these steps; with the bits, twice that is in int32
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

    Float: K depthwise convolutions, products and sums. Int8: the kernels are mixed first and
    convolve once; rounds the mixed kernel and the result. Edge TPU, which has no kernels that
    change: as float, summed in pairs; each map ``W_k * x + b_k`` has a range of its own, that of
    `name`/kernel0 and so on. The result is named `name`/mixed in all of them. What is to
    hold int16 activations mixes maps, see :mod:`~qlvit_edge.converters.idioms.maps`.

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
    each, offsets = np.asanyarray(kernels, np.float64), np.asanyarray(biases, np.float64)
    match writer.numerics:
        case Float():
            return _one_by_one(writer, x, probabilities, each, offsets, name)
        case EdgeTpu() as numerics:
            return _in_pairs(writer, numerics, x, probabilities, each, offsets, name)
        case MapMixing() as numerics:
            return mixed_maps(
                writer, numerics, x, joined(writer, probabilities), each, offsets, name
            )
        case Int8() as numerics:
            return _once(writer, numerics, x, probabilities, each, offsets, name)


def _once(
    writer: Writer,
    int8: Int8,
    x: Tensor,
    probabilities: Probabilities,
    kernels: Array,
    biases: Array,
    name: str,
) -> Tensor:
    """Mix the kernels, ``(Σ_k p_k W_k) * x + Σ_k p_k b_k``, and convolve once.

    A 1×1 convolution of the probabilities gives the mixed kernel, in steps of what each channel's
    can reach; the bias is summed in int32.
    """
    mixed = int8.activation(f"{name}/mixed")
    kernels = kernels / x.multiple
    # A step of the accumulator must not be too small for bias and zero point.
    reach = largest_mixture(kernels).max((0, 1)) / 127
    least = np.maximum(largest_mixture(biases), 256 * mixed.scale[0]) / _LARGEST_BIAS
    scales = np.maximum(reach, least / x.scale).astype(np.float32).astype(np.float64)
    shares, step = steps(writer, probabilities)
    kernel = _mixed_kernel(writer, shares, step * kernels / scales, scales, name)
    units = x.scale * scales
    zero = (mixed.zero_point + 128) * mixed.scale[0] / units
    bias = _mixed_bias(writer, shares, step * biases / units, zero, units, name)
    shifted = writer.emit(
        DynamicDepthwiseConv2D(
            inputs=(x, kernel, bias),
            name=f"{name}/shifted",
            quantisation=Quantisation(mixed.scale, -128),
        )
    )
    return relabel(writer, shifted, shifted.shape, mixed, name=f"{name}/mixed")


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
    return present(mixed, "a kernel to mix")


def _mixed_kernel(
    writer: Writer, shares: Tensor, kernels: Array, scales: Array, name: str
) -> Tensor:
    """Return Σ_k q_k W_k, (1, kh, kw, C), from stored values q and kernels (K, kh, kw, C)."""
    count, rows, columns, channels = kernels.shape
    flat = kernels.reshape(count, -1).T[:, None, None, :] / shares.scale
    weight, bias = weights(writer, shares, flat, None, 0, f"{name}/kernels")
    # The convolution takes the zero point off; the bias brings it back.
    stored = present(weight.data, "the kernels' integers")
    sums = shares.zero_point * stored.astype(np.int32).sum((1, 2, 3))
    codes = writer.emit(
        Conv2D(
            inputs=(shares, weight, replace(bias, data=sums.astype(np.int32))),
            name=f"{name}/kernel/steps",
            quantisation=Quantisation((1.0,), 0),
        )
    )
    per_channel = Quantisation(tuple(scales), 0, 3)
    return relabel(writer, codes, (1, rows, columns, channels), per_channel, name=f"{name}/kernel")


def _mixed_bias(
    writer: Writer, shares: Tensor, biases: Array, zero: Array, units: Array, name: str
) -> Tensor:
    """Return Σ_k q_k b_k + zero, int32 (C,), from stored values q, b (K, C) and zero (C,)."""
    count, channels = biases.shape
    plain = writer.emit(CastToInt32(inputs=(shares,), name=f"{name}/shares/int32"))
    column = reshape(writer, plain, (1, count, 1), name=f"{name}/shares/column")
    finer = round_half_away(biases * 2**_BIAS_BITS)
    each = integers(f"{name}/biases", finer[None])
    terms = writer.emit(Mul(inputs=(column, each), name=f"{name}/bias/terms"))
    axis = integers(f"{name}/bias/axis", [1])
    total = writer.emit(Sum(inputs=(terms, axis), name=f"{name}/bias/sum"))
    raised = round_half_away(zero * 2**_BIAS_BITS) + 2 ** (_BIAS_BITS - 1)
    constant = integers(f"{name}/bias/zero", raised[None, None])
    summed = writer.emit(Add(inputs=(total, constant), name=f"{name}/bias/raised"))
    bits = integer_full(f"{name}/bias/bits", _BIAS_BITS, summed)
    steps = writer.emit(RightShift(inputs=(summed, bits), name=f"{name}/bias/steps"))
    return writer.emit(
        Vector(
            inputs=(steps, integers(f"{name}/bias/shape", [channels])),
            name=f"{name}/bias",
            quantisation=Quantisation(tuple(units), 0, 0),
        )
    )


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
    part = a.name.removeprefix(f"{name}/")
    extent = (_LARGEST_SUM * low, _LARGEST_SUM * high)
    return add(writer, a, b, name=f"{name}/sum/{part}", fixed_range=extent), (low, high)
