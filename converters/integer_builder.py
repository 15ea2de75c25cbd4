"""The integer graph of the device: every tensor int8 (or int32 inside the softmax)."""

# ruff: noqa: D102 - what the methods promise is said once, in GraphBuilder.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.builder import (
    GraphBuilder,
    Log2Probabilities,
    Range,
    SingleTensorProbabilities,
)
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.ops.activation import Exp, Logistic
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Mul, RightShift, Sub
from qlvit_edge.converters.ops.lookup import (
    Bitcast,
    BitwiseXor,
    CastToInt32,
    Gather,
    Quantize,
)
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.reduction import ReduceMax, Sum
from qlvit_edge.errors import CalibrationError, ConversionError
from qlvit_edge.integer import log2_softmax as softmax
from qlvit_edge.integer.iexp import iexp_table
from qlvit_edge.integer.uniform import quantise_weights, round_half_away, uniform_parameters

_UNIT = Quantisation((1 / 255,), -128)  # 0 … 1 in 256 steps; int8 saturation clips for free
_CODE = Quantisation((softmax.CODE_SCALE,), softmax.CODE_ZERO_POINT)
_GROUP = 8  # channels that the kernels of a dynamic convolution share a group with
_LARGEST_BIAS = 2**30  # leaves the accumulator as much room again
_GATE = Quantisation((6 / 255,), -128)  # 0 … 6, both exact; saturation clips for free


class IntegerBuilder(GraphBuilder):
    """Builds with int8 tensors; ranges come from calibration, unless they are fixed."""

    def __init__(
        self,
        name: str,
        *,
        ranges: Mapping[str, Range],
        softmax_form: softmax.Form = "fast",
        anchors: Mapping[str, int] | None = None,
    ) -> None:
        """Begin an empty graph.

        Args:
            name: of the graph.
            ranges: smallest and largest real value by tensor name.
            softmax_form: see :mod:`qlvit_edge.integer.log2_softmax`.
            anchors: of the ``fast`` form by the softmax's name (0 … 8).
        """
        super().__init__(name)
        self.ranges = ranges
        self.softmax_form: softmax.Form = softmax_form
        self.anchors = anchors or {}

    def input_image(self, height: int, width: int, channels: int = 3) -> Tensor:
        shape = (1, height, width, channels)
        image = Tensor("image", shape, "uint8", Quantisation((1.0,), 0))
        self._inputs.append(image)
        signed = Quantisation((1.0,), -128)
        words, rest = divmod(height * width * channels, 4)
        if rest:
            return self._emit(Quantize(inputs=(image,), name="image/int8", quantisation=signed))
        # Less 128 is the highest bit turned over, in four bytes at a time: half of QUANTIZE's time.
        bytes_ = self.reshape(image, (1, words, 4), name="image/bytes")
        four = self._emit(Bitcast(inputs=(bytes_,), name="image/words"))
        bits = np.full((1, words), 0x80808080, np.uint32).view(np.int32)
        high = Tensor("image/high_bits", bits.shape, "int32", data=bits)
        turned = self._emit(BitwiseXor(inputs=(four, high), name="image/turned"))
        stored = self._emit(Bitcast(inputs=(turned,), name="image/int8/bytes", quantisation=signed))
        return self.reshape(stored, shape, name="image/int8")

    def hard_swish(self, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """See the base class. Two operations that XNNPACK takes: 0.1 ns per element.

        TFLite's own int8 HARD_SWISH stays outside the delegate at 3.6 ns and splits it. What
        is made is ``x · clip(x + 3, 0, 6)``: the sixth is left to the convolutions that read it.
        """
        gate = self._emit(
            Add(
                inputs=(x, self._constant_like(f"{name}/three", 3.0)),
                name=f"{name}/gate",
                quantisation=_GATE,
            )
        )
        plain = self._activation(name, fixed_range)
        assert plain is not None
        sixfold = self._emit(
            Mul(
                inputs=(x, gate),
                name=f"{name}/sixfold",
                quantisation=Quantisation((6 * plain.scale[0],), plain.zero_point),
            )
        )
        return self._stand_for(sixfold, 1 / 6)

    def sigmoid(self, x: Tensor, *, name: str) -> Tensor:
        return self._emit(
            Logistic(inputs=(x,), name=name, quantisation=Quantisation((1 / 256,), -128))
        )

    def log2_softmax(self, x: Tensor, axis: int, *, name: str) -> Log2Probabilities:
        code = self._codes(x, axis, name)
        anchor = 0 if self.softmax_form == "exact" else self._anchor(name)
        if self.softmax_form == "exact" or anchor == softmax.LARGEST_ANCHOR:
            lowest = Tensor(f"{name}/lowest", (1,) * len(x.shape), "int8", _CODE, _int8([0], x))
            code = self._emit(
                Maximum(inputs=(code, lowest), name=f"{name}/clipped", quantisation=_CODE)
            )
        if self.softmax_form == "fast":
            return SingleTensorProbabilities(self, self._powers(code, anchor, name))
        high = self._powers(code, 0, f"{name}/high")
        capped = self._powers(code, softmax.LARGEST_ANCHOR, f"{name}/capped")
        one = Tensor(
            f"{name}/one", (1,) * len(x.shape), "int8", Quantisation((1 / 127,), 0), _int8([127], x)
        )
        excess = self._emit(
            Mul(inputs=(high, one), name=f"{name}/excess", quantisation=capped.quantisation)
        )
        low = self._emit(
            Sub(inputs=(capped, excess), name=f"{name}/low", quantisation=capped.quantisation)
        )
        return _ExactProbabilities(self, name, high, low)

    def _codes(self, x: Tensor, axis: int, name: str) -> Tensor:
        """The operations of :func:`qlvit_edge.integer.log2_softmax.log2_codes`."""
        count = x.shape[axis]
        axes = Tensor(f"{name}/axis", (1,), "int32", data=np.array([axis], np.int32))
        largest = self._emit(
            ReduceMax(inputs=(x, axes), name=f"{name}/max", quantisation=x.quantisation)
        )
        below = self._emit(
            Sub(
                inputs=(x, largest),
                name=f"{name}/shifted",
                quantisation=Quantisation((x.scale,), softmax.SHIFTED_ZERO_POINT),
            )
        )
        exponential, smallest, offset = self._exponentials(below, count, name)
        total = self._emit(Sum(inputs=(exponential, axes), name=f"{name}/sum/int32"))
        table = softmax.log_table(smallest, count)
        index = self._emit(
            Add(
                inputs=(total, self._scalar(f"{name}/first", offset - smallest, x)),
                name=f"{name}/index",
            )
        )
        if table.shift:
            index = self._emit(
                RightShift(
                    inputs=(index, self._scalar(f"{name}/bits", table.shift, x)),
                    name=f"{name}/index/coarse",
                )
            )
        logs = Quantisation((table.scale,), softmax.LOG_ZERO_POINT)
        values = Tensor(f"{name}/log_table", table.values.shape, "int8", logs, table.values)
        log = self._emit(Gather(inputs=(values, index), name=f"{name}/log_sum", quantisation=logs))
        return self._emit(Sub(inputs=(below, log), name=f"{name}/log", quantisation=_CODE))

    def _exponentials(self, below: Tensor, count: int, name: str) -> tuple[Tensor, int, int]:
        """Int32 terms of the sum, the smallest sum, and what the sum still lacks."""
        if self.softmax_form == "fast":
            quantisation = Quantisation((softmax.EXP_SCALE,), softmax.EXP_ZERO_POINT)
            exponential = self._emit(
                Exp(inputs=(below,), name=f"{name}/exp", quantisation=quantisation)
            )
            plain = self._emit(CastToInt32(inputs=(exponential,), name=f"{name}/exp/int32"))
            return plain, softmax.EXP_ONE, -softmax.EXP_ZERO_POINT * count
        plain = self._emit(CastToInt32(inputs=(below,), name=f"{name}/shifted/int32"))
        index = self._emit(
            Add(
                inputs=(plain, self._scalar(f"{name}/to_index", 128, below)),
                name=f"{name}/shifted/index",
            )
        )
        values = iexp_table(below.scale, count)
        table = Tensor(f"{name}/iexp_table", (256,), "int32", data=values)
        exponential = self._emit(Gather(inputs=(table, index), name=f"{name}/exp/int32"))
        return exponential, int(values[255]), 0

    def _anchor(self, name: str) -> int:
        if name not in self.anchors:
            raise CalibrationError(name, "softmax has no anchor", "calibrate this network again")
        anchor = self.anchors[name]
        if not 0 <= anchor <= softmax.LARGEST_ANCHOR:
            raise CalibrationError(name, f"anchor {anchor}", "an anchor is 0 … 8")
        return anchor

    def _powers(self, code: Tensor, anchor: int, name: str) -> Tensor:
        scale = Quantisation((softmax.power_scale(anchor),), 0)
        return self._emit(Exp(inputs=(code,), name=name, quantisation=scale))

    def _grid_position(
        self,
        x: Tensor,
        factor: NDArray[np.float64],
        offset: NDArray[np.float64],
        intervals: int,
        name: str,
    ) -> Tensor:
        extent = (0.0, float(intervals))  # saturates at both ends of the grid
        return self.depthwise(x, factor.reshape(1, 1, -1), offset, name=name, fixed_range=extent)

    def _ramps(self, position: Tensor, intervals: int, name: str) -> Tensor:
        # Steps of 1/127 of the last knot would misplace the others: one scale that holds all
        # knots exactly, -i being the stored value.
        knots = -np.arange(intervals, dtype=np.int8).reshape(1, -1, 1)
        constant = Tensor(f"{name}/knots", knots.shape, "int8", Quantisation((1.0,), 0), knots)
        return self._emit(Add(inputs=(position, constant), name=name, quantisation=_UNIT))

    def dynamic_depthwise(
        self,
        x: Tensor,
        probabilities: Log2Probabilities,
        weights: ArrayLike,
        biases: ArrayLike,
        *,
        name: str,
    ) -> Tensor:
        """See the base class: one grouped convolution and one product, rounded once.

        Multiplying and adding map by map rounds 2K - 1 times, which costs 6 dB where large
        maps cancel. Here a convolution of 8 channels a group, zero but for each kernel's own
        channel, gives all K maps of a group side by side, in the time of K depthwise
        convolutions; all groups of all positions, two in a row, then meet one matrix of
        diagonals. For 56×56×96 the two take 0.73 ms, where separate maps, joined and
        multiplied alike, take 0.93.
        """
        kernels, offsets = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
        count, rows, columns, channels = kernels.shape
        group = max(g for g in range(1, _GROUP + 1) if channels % g == 0)
        source, padding = self._absorbed_padding(x, (rows, columns), (1, 1))
        # Outputs in order of group, kernel, channel; each reads the channels of its group.
        grouped = kernels.reshape(count, rows, columns, -1, group).transpose(3, 0, 4, 1, 2)
        wide = (grouped[..., None] * np.eye(group)[:, None, None, :]).reshape(
            count * channels, rows, columns, group
        )
        bias = offsets.reshape(count, -1, group).transpose(1, 0, 2).ravel()
        names = [f"{name}/kernel{k}" for k in range(count)]
        maps = self._emit(
            Conv2D(
                inputs=(source, *self._weight_and_bias(source, wide, bias, 0, f"{name}/kernels")),
                name=f"{name}/kernels",
                quantisation=self._activation(name, self.shared_range(names)),
                padding=padding,
            )
        )
        _, height, width, _ = maps.shape
        groups = height * width * channels // group
        together = 2 if groups % 2 == 0 else 1  # 16 columns fill the product's registers
        left = self.reshape(
            maps,
            (1, 1, groups // together, together * count * group),
            name=f"{name}/groups",
        )
        joined = probabilities.joined()
        column = self.reshape(joined, (1, 1, count, 1), name=f"{name}/column")
        diagonals = self._emit(
            Mul(
                inputs=(self._diagonals(f"{name}/ones", together, count, group), column),
                name=f"{name}/diagonals",
                quantisation=joined.quantisation,
            )
        )
        right = self.reshape(
            diagonals,
            (1, 1, together * count * group, together * group),
            name=f"{name}/right",
        )
        product = self._emit(
            BatchMatMul(
                inputs=(left, right),
                name=f"{name}/product",
                quantisation=self._activation(f"{name}/mixed", None),
            )
        )
        return self.reshape(product, (1, height, width, channels), name=f"{name}/mixed")

    def shared_range(self, names: Sequence[str]) -> Range | None:
        for name in names:
            if name not in self.ranges:
                raise CalibrationError(name, "tensor has no range", "calibrate this network again")
        return (
            min(self.ranges[name][0] for name in names),
            max(self.ranges[name][1] for name in names),
        )

    def _diagonals(self, name: str, together: int, count: int, group: int) -> Tensor:
        """Ones where row (g, k, c) meets column (g, c): (1, g, k, c · columns), flat."""
        rows = np.eye(together * group, dtype=np.int8).reshape(together, 1, group, -1)
        values = np.tile(127 * rows, (1, count, 1, 1)).reshape(1, together, count, -1)
        return Tensor(name, values.shape, "int8", Quantisation((1 / 127,), 0), values)

    def _activation(
        self, name: str, fixed_range: Range | None, symmetric: bool = False
    ) -> Quantisation | None:
        known = fixed_range if fixed_range is not None else self.ranges.get(name)
        if known is None:
            raise CalibrationError(name, "tensor has no range", "calibrate this network again")
        low, high = float(known[0]), float(known[1])
        try:
            if symmetric:
                peak = max(abs(low), abs(high))
                return Quantisation((uniform_parameters(0.0, peak * 255 / 127).scale,), 0)
            parameters = uniform_parameters(low, high)
        except ValueError as error:
            raise CalibrationError(name, str(error), "calibrate this network again") from error
        return Quantisation((parameters.scale,), parameters.int8_zero_point)

    def _convolution_constants(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ConversionError(name, "weights are not finite", "train the network again")
        # A channel whose weights are tiny beside its bias gets a coarser scale, or the int32
        # bias at scale s_x · s_w would overflow.
        smallest = np.abs(bias) / (x.scale * _LARGEST_BIAS)
        codes, scales = quantise_weights(weight, axis, smallest)
        weights = Tensor(
            f"{name}/weight",
            codes.shape,
            "int8",
            Quantisation(tuple(scales), 0, axis),
            codes,
        )
        bias_scales = scales * x.scale
        stored = round_half_away(bias / bias_scales).astype(np.int32)
        return weights, Tensor(
            f"{name}/bias",
            stored.shape,
            "int32",
            Quantisation(tuple(bias_scales), 0, 0),
            stored,
        )

    def _lowest(self, x: Tensor, name: str) -> Tensor:
        stored = np.array([-128], np.int8)
        return Tensor(name, (1,), "int8", x.quantisation, stored)

    def _constant_like(self, name: str, value: float) -> Tensor:
        stored = np.full((1, 1, 1, 1), round_half_away(np.sign(value) * 127), np.int8)
        quantisation = Quantisation(((abs(value) or 1.0) / 127,), 0)
        return Tensor(name, (1, 1, 1, 1), "int8", quantisation, stored)

    def _scalar(self, name: str, value: int, like: Tensor) -> Tensor:
        shape = (1,) * len(like.shape)
        return Tensor(name, shape, "int32", data=np.full(shape, value, np.int32))


def _int8(values: list[int], like: Tensor) -> NDArray[np.int8]:
    return np.array(values, np.int8).reshape((1,) * len(like.shape))


class _ExactProbabilities(Log2Probabilities):
    """Levels 0-7 and 8-15 in a table each; products with both are added."""

    def __init__(self, builder: IntegerBuilder, name: str, high: Tensor, low: Tensor) -> None:
        self._builder = builder
        self._name = name
        self._high = high
        self._low = low

    def matmul_left(
        self,
        a: Tensor,
        *,
        name: str,
        adjoint_a: bool = False,
        adjoint_p: bool = False,
        symmetric: bool = False,
        fixed_range: Range | None = None,
    ) -> Tensor:
        builder = self._builder
        quantisation = builder._activation(name, fixed_range, symmetric)
        high, low = (
            builder._emit(
                BatchMatMul(
                    inputs=(a, part),
                    name=f"{name}/{suffix}",
                    quantisation=quantisation,
                    adjoint_a=adjoint_a,
                    adjoint_b=adjoint_p,
                )
            )
            for part, suffix in ((self._high, "high"), (self._low, "low"))
        )
        return builder._emit(Add(inputs=(high, low), name=name, quantisation=quantisation))

    def joined(self) -> Tensor:
        """See the base class; probabilities below 1/254 round to 0 in the joined tensor."""
        quantisation = Quantisation((1 / 127,), 0)
        return self._builder._emit(
            Add(inputs=(self._high, self._low), name=self._name, quantisation=quantisation)
        )
