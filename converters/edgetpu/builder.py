"""The integer graph in the operators of the Edge TPU, as far as it has them.

Differs from the native graph where that one uses what the Edge TPU does not run: words and
bits for the image's sign, rows as vectors for padding, PADV2, EXP in π's softmax, groups and
BATCH_MATMUL in the dynamic convolution, unequal dilation in the KAN. See `docs/edgetpu.md`.
"""

# ruff: noqa: D102 - what the methods promise is said once, in GraphBuilder.

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.builder import Log2Probabilities, Range
from qlvit_edge.converters.builder.base import Amounts
from qlvit_edge.converters.builder.probabilities import SingleTensorProbabilities
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.integer_builder import IntegerBuilder
from qlvit_edge.converters.integer_builder.kan import UNIT
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.elementwise import Add, Mul
from qlvit_edge.converters.ops.lookup import Quantize
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.shape import Pad, Slice
from qlvit_edge.converters.ops.softmax import Softmax
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.fixed_softmax import OUTPUT_SCALE, OUTPUT_ZERO_POINT

_LEVELS = 8  # powers of two that SOFTMAX's steps can tell apart: 1 … 1/128
# Powers of two are rounded in the exponent: any of them together are at most this.
_LARGEST_SUM = math.sqrt(2.0)


class EdgeTpuBuilder(IntegerBuilder):
    """Asks for the same ranges as the native graph: one calibration serves both."""

    def input_image(self, height: int, width: int, channels: int = 3) -> Tensor:
        image = Tensor("image", (1, height, width, channels), "uint8", Quantisation((1.0,), 0))
        self._inputs.append(image)
        signed = Quantisation((1.0,), -128)
        return self._emit(Quantize(inputs=(image,), name="image/int8", quantisation=signed))

    def max_pool_3x3_s2(self, x: Tensor, *, name: str) -> Tensor:
        """See the base class. The first row and column twice: a maximum does not see it.

        PADV2 with the lowest value is not mapped, and zeros could win.
        """
        tall = self._first_twice(x, 1, f"{name}/tall")
        wide = self._first_twice(tall, 2, f"{name}/wide")
        return self._emit(
            MaxPool2D(
                inputs=(wide,),
                name=name,
                quantisation=x.quantisation,
                window=(3, 3),
                stride=(2, 2),
            )
        )

    def log2_softmax(self, x: Tensor, axis: int, *, name: str) -> Log2Probabilities:
        """See the base class; of a few values, so of π, without leaving the Edge TPU.

        EXP would cost a second round trip for every block. Its own SOFTMAX has steps of 1/256:
        fine for a few probabilities, though those over tokens would all be zero. The powers of
        two follow as a staircase: one convolution tells which thresholds a probability is
        above (saturation makes steps of ramps), a second adds up the rises.
        """
        if any(size > 1 for size in x.shape[:-1]) or axis != len(x.shape) - 1:
            return super().log2_softmax(x, axis, name=name)
        quantisation = Quantisation((OUTPUT_SCALE,), OUTPUT_ZERO_POINT)
        plain = self._emit(Softmax(inputs=(x,), name=f"{name}/softmax", quantisation=quantisation))
        count, width = x.shape[-1], 0.5 * OUTPUT_SCALE
        # The threshold √2 below 2^-level, moved into the gap above the last step below it.
        levels = np.arange(_LEVELS)
        below = np.floor(2.0 ** (-levels - 0.5) / OUTPUT_SCALE) * OUTPUT_SCALE + width / 2
        steps = self.conv(
            plain,
            np.tile(np.eye(count), (_LEVELS, 1))[:, None, None, :],
            -np.repeat(below, count),
            name=f"{name}/above",
            fixed_range=(0.0, width),
        )
        rises = np.append(2.0 ** (-levels[:-1] - 1.0), 2.0 ** -levels[-1]) / width
        powers = self.conv(
            steps,
            (np.eye(count)[:, None, :] * rises[:, None]).reshape(count, 1, 1, -1),
            name=name,
            fixed_range=(0.0, 255 * OUTPUT_SCALE),
        )
        return SingleTensorProbabilities(self, powers)

    def dynamic_depthwise(
        self,
        x: Tensor,
        probabilities: Log2Probabilities,
        weights: ArrayLike,
        biases: ArrayLike,
        *,
        name: str,
    ) -> Tensor:
        """See the base class: K depthwise convolutions, each times its share, summed in pairs.

        Rounds 3K - 1 times where the native graph rounds K + 1 times, but each map has a
        range of its own.
        """
        kernels, offsets = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
        shares = probabilities.joined()
        parts: list[tuple[Tensor, Range]] = []
        for k, (kernel, offset) in enumerate(zip(kernels, offsets, strict=True)):
            plain = self.depthwise(x, kernel, offset, name=f"{name}/kernel{k}")
            share = self._box(shares, (0, 0, 0, k), (1, 1, 1, 1), f"{name}/share{k}")
            product = self._emit(
                Mul(
                    inputs=(plain, share),
                    name=f"{name}/part{k}",
                    quantisation=plain.quantisation,
                )
            )
            parts.append((product, _with_zero(self.ranges[f"{name}/kernel{k}"])))
        while len(parts) > 2:
            pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
            parts = [self._sum(pair, name) if pair[1:] else pair[0] for pair in pairs]
        if len(parts) == 1:
            raise ConversionError(name, "one kernel", "a dynamic convolution mixes two or more")
        (a, _), (b, _) = parts
        return self.add(a, b, name=f"{name}/mixed")

    def kan_layer(
        self,
        x: Tensor,
        *,
        scale: ArrayLike,
        shift: ArrayLike,
        knots: ArrayLike,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """See the base class: ramps side by side, then a 1×1 convolution."""
        position, intervals = self._position(x, scale, shift, knots, name)
        ramps = []
        for interval in range(intervals):
            stored = np.full((1, 1, 1, 1), -interval, np.int8)
            knot = Tensor(
                f"{name}/knot{interval}", stored.shape, "int8", Quantisation((1.0,), 0), stored
            )
            ramp = Add(inputs=(position, knot), name=f"{name}/ramp{interval}", quantisation=UNIT)
            ramps.append(self._emit(ramp))
        joined = self._emit(
            Concatenation(inputs=tuple(ramps), name=f"{name}/ramps", quantisation=UNIT, axis=3)
        )
        values = np.asarray(weight, np.float64)  # (O, G, C)
        kernel = values.reshape(len(values), 1, 1, -1)
        return self.conv(joined, kernel, bias, name=name, fixed_range=fixed_range)

    def _pad_rows(
        self, x: Tensor, amounts: tuple[Amounts, Amounts], value: Tensor | None, name: str
    ) -> Tensor:
        """Pad the map as a map: large tensors are not always reshaped on the Edge TPU."""
        if value is not None:
            raise ConversionError(name, "padding other than zero", "PADV2 is not mapped")
        table = np.array([(0, 0), *amounts, (0, 0)], np.int32)
        constant = Tensor(f"{name}/amounts", (4, 2), "int32", data=table)
        return self._emit(Pad(inputs=(x, constant), name=name, quantisation=x.quantisation))

    def _folded_columns(
        self, x: Tensor, weight: NDArray[np.float64], stride: tuple[int, int], name: str
    ) -> tuple[Tensor, NDArray[np.float64], tuple[int, int]]:
        """Leave the image as it is: folding it takes a reshape of a large tensor."""
        return x, weight, stride

    def _sum(self, pair: list[tuple[Tensor, Range]], name: str) -> tuple[Tensor, Range]:
        (a, first), (b, second) = pair
        low, high = min(first[0], second[0]), max(first[1], second[1])
        part = a.name.rsplit("/", 1)[-1]
        extent = (_LARGEST_SUM * low, _LARGEST_SUM * high)
        return self.add(a, b, name=f"{name}/sum/{part}", fixed_range=extent), (low, high)

    def _first_twice(self, x: Tensor, axis: int, name: str) -> Tensor:
        size = tuple(1 if i == axis else side for i, side in enumerate(x.shape))
        first = self._box(x, (0, 0, 0, 0), size, f"{name}/first")
        return self._emit(
            Concatenation(inputs=(first, x), name=name, quantisation=x.quantisation, axis=axis)
        )

    def _box(self, x: Tensor, begin: tuple[int, ...], size: tuple[int, ...], name: str) -> Tensor:
        corners = [
            Tensor(f"{name}/{what}", (4,), "int32", data=np.array(values, np.int32))
            for what, values in (("begin", begin), ("size", size))
        ]
        return self._emit(Slice(inputs=(x, *corners), name=name, quantisation=x.quantisation))


def _with_zero(extent: Range) -> Range:
    return min(extent[0], 0.0), max(extent[1], 0.0)
