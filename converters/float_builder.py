"""The float32 twin of the integer graph: for calibration and for comparison."""

# ruff: noqa: D102 - what the methods promise is said once, in GraphBuilder.

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.builder import (
    GraphBuilder,
    Log2Probabilities,
    Range,
    SingleTensorProbabilities,
)
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.ops.activation import Exp, Floor, HardSwish, Log, Logistic, Rsqrt
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.elementwise import Add, Div, Maximum, Minimum, Mul, Sub
from qlvit_edge.converters.ops.reduction import Mean, ReduceMax, Sum
from qlvit_edge.converters.ops.shape import Slice
from qlvit_edge.integer.log2_softmax import TOP_CODE

Softmax = Literal["log2", "float"]


class FloatBuilder(GraphBuilder):
    """Builds with float32 tensors."""

    def __init__(self, name: str, *, softmax: Softmax = "log2") -> None:
        """Begin an empty graph.

        Args:
            name: of the graph.
            softmax: ``"log2"`` rounds probabilities to the powers of two of eq. 6, all 16
                levels; ``"float"`` leaves them as they are.
        """
        super().__init__(name)
        self.softmax = softmax
        self.softmax_axes: dict[str, int] = {}

    def input_image(self, height: int, width: int, channels: int = 3) -> Tensor:
        return self._input("image", (1, height, width, channels), "float32")

    def hard_swish(self, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        return self._emit(HardSwish(inputs=(x,), name=name))

    def sigmoid(self, x: Tensor, *, name: str) -> Tensor:
        return self._emit(Logistic(inputs=(x,), name=name))

    def log2_softmax(self, x: Tensor, axis: int, *, name: str) -> Log2Probabilities:
        self.softmax_axes[name] = axis
        axes = Tensor(f"{name}/axis", (1,), "int32", data=np.array([axis], np.int32))
        largest = self._emit(ReduceMax(inputs=(x, axes), name=f"{name}/max"))
        below = self._emit(Sub(inputs=(x, largest), name=f"{name}/shifted"))
        exponential = self._emit(Exp(inputs=(below,), name=f"{name}/exp"))
        total = self._emit(Sum(inputs=(exponential, axes), name=f"{name}/sum"))
        if self.softmax == "float":
            return SingleTensorProbabilities(
                self, self._emit(Div(inputs=(exponential, total), name=name))
            )
        log_total = self._emit(Log(inputs=(total,), name=f"{name}/log_sum"))
        log = self._emit(Sub(inputs=(below, log_total), name=f"{name}/log_exact"))
        return SingleTensorProbabilities(self, self._rounded_power(log, name))

    def _rounded_power(self, log: Tensor, name: str) -> Tensor:
        """``2^max(round(log / ln2), -15)``."""

        def constant(suffix: str, value: float) -> Tensor:
            return self._constant_like(f"{name}/{suffix}", value)

        log2 = self._emit(
            Mul(inputs=(log, constant("1/ln2", 1 / math.log(2))), name=f"{name}/log2")
        )
        raised = self._emit(Add(inputs=(log2, constant("half", 0.5)), name=f"{name}/raised"))
        whole = self._emit(Floor(inputs=(raised,), name=f"{name}/level"))
        clipped = self._emit(
            Maximum(inputs=(whole, constant("lowest", -TOP_CODE)), name=f"{name}/level/clipped")
        )
        rounded = self._emit(
            Mul(inputs=(clipped, constant("ln2", math.log(2))), name=f"{name}/log")
        )
        return self._emit(Exp(inputs=(rounded,), name=name))

    def _grid_position(
        self,
        x: Tensor,
        factor: NDArray[np.float64],
        offset: NDArray[np.float64],
        intervals: int,
        name: str,
    ) -> Tensor:
        return self.depthwise(x, factor.reshape(1, 1, -1), offset, name=name)

    def _ramps(self, position: Tensor, intervals: int, name: str) -> Tensor:
        knots = -np.arange(intervals, dtype=np.float32).reshape(1, -1, 1)
        constant = Tensor(f"{name}/knots", knots.shape, "float32", data=knots)
        moved = self._emit(Add(inputs=(position, constant), name=f"{name}/moved"))
        zero, one = self._constant(f"{name}/0", 0.0, 3), self._constant(f"{name}/1", 1.0, 3)
        above = self._emit(Maximum(inputs=(moved, zero), name=f"{name}/above"))
        return self._emit(Minimum(inputs=(above, one), name=name))

    def _spline_sum(
        self,
        position: Tensor,
        intervals: int,
        reach: float,
        weight: NDArray[np.float64],
        base: NDArray[np.float64],
        bias: NDArray[np.float64],
        name: str,
        fixed_range: Range | None,
    ) -> Tensor:
        """See the base class: ``B(p) = (max(2 - |p|, 0)³ - 4 max(1 - |p|, 0)³) / 6``."""
        _, height, width, channels = position.shape
        flat = self.reshape(position, (1, 1, height * width * channels), name=f"{name}/flat")
        zero = self._constant(f"{name}/0", 0.0, 3)
        last = self._constant(f"{name}/last", intervals, 3)
        above = self._emit(Maximum(inputs=(flat, zero), name=f"{name}/above"))
        clipped = self._emit(Minimum(inputs=(above, last), name=f"{name}/clipped"))
        bases = self._cubic_bases(clipped, intervals, zero, name)
        stacked = self.reshape(
            bases, (1, (intervals + 3) * height, width, channels), name=f"{name}/stacked"
        )
        splines = self._emit(
            Conv2D(
                inputs=(
                    stacked,
                    *self._weight_and_bias(
                        stacked, weight[:, :, None, :], bias, 0, f"{name}/splines"
                    ),
                ),
                name=f"{name}/splines",
                dilation=height,
            )
        )
        step = self._constant(f"{name}/step", 2 * reach / intervals, 3)
        reached = self._constant(f"{name}/reach", reach, 3)
        scaled = self._emit(Mul(inputs=(clipped, step), name=f"{name}/scaled"))
        u = self._emit(Sub(inputs=(scaled, reached), name=f"{name}/u"))
        gate = self._emit(Logistic(inputs=(u,), name=f"{name}/gate"))
        silu = self._emit(Mul(inputs=(u, gate), name=f"{name}/silu"))
        silu = self.reshape(silu, position.shape, name=f"{name}/silu/map")
        return self.add(
            splines, self.conv(silu, base[:, None, None], name=f"{name}/base"), name=name
        )

    def _cubic_bases(self, position: Tensor, intervals: int, zero: Tensor, name: str) -> Tensor:
        """Every basis at (1, 1, n) positions: (1, intervals + 3, n)."""
        centres = np.arange(-1, intervals + 2, dtype=np.float32).reshape(1, -1, 1)
        constant = Tensor(f"{name}/centres", centres.shape, "float32", data=centres)
        moved = self._emit(Sub(inputs=(position, constant), name=f"{name}/moved"))
        opposite = self._emit(Sub(inputs=(zero, moved), name=f"{name}/opposite"))
        distance = self._emit(Maximum(inputs=(moved, opposite), name=f"{name}/distance"))
        cubes = []
        for extent, share in ((2.0, 1 / 6), (1.0, 4 / 6)):
            part = f"{name}/within{extent:.0f}"
            end = self._constant(f"{part}/extent", extent, 3)
            left = self._emit(Sub(inputs=(end, distance), name=f"{part}/left"))
            inside = self._emit(Maximum(inputs=(left, zero), name=f"{part}/inside"))
            square = self._emit(Mul(inputs=(inside, inside), name=f"{part}/square"))
            cube = self._emit(Mul(inputs=(square, inside), name=f"{part}/cube"))
            factor = self._constant(f"{part}/share", share, 3)
            cubes.append(self._emit(Mul(inputs=(cube, factor), name=f"{part}/weighed")))
        return self._emit(Sub(inputs=(cubes[0], cubes[1]), name=f"{name}/bases"))

    def standardise(self, x: Tensor, epsilon: float, *, name: str) -> Tensor:
        last = Tensor(f"{name}/axis", (1,), "int32", data=np.array([len(x.shape) - 1], np.int32))
        mean = self._emit(Mean(inputs=(x, last), name=f"{name}/mean"))
        deviation = self._emit(Sub(inputs=(x, mean), name=f"{name}/deviation"))
        square = self._emit(Mul(inputs=(deviation, deviation), name=f"{name}/squared"))
        variance = self._emit(Mean(inputs=(square, last), name=f"{name}/variance"))
        small = self._constant(f"{name}/epsilon", epsilon, len(x.shape))
        raised = self._emit(Add(inputs=(variance, small), name=f"{name}/raised"))
        root = self._emit(Rsqrt(inputs=(raised,), name=f"{name}/root"))
        return self._emit(Mul(inputs=(deviation, root), name=name))

    def dynamic_depthwise(
        self,
        x: Tensor,
        probabilities: Log2Probabilities,
        weights: ArrayLike,
        biases: ArrayLike,
        *,
        name: str,
    ) -> Tensor:
        """See the base class. In float, K depthwise convolutions, products and sums are fastest."""
        joined = probabilities.joined()
        one = Tensor(f"{name}/one", (4,), "int32", data=np.ones(4, np.int32))
        mixed: Tensor | None = None
        kernels, offsets = np.asarray(weights), np.asarray(biases)
        for k, (kernel, offset) in enumerate(zip(kernels, offsets, strict=True)):
            part = f"{name}/kernel{k}"
            begin = Tensor(f"{part}/begin", (4,), "int32", data=np.array([0, 0, 0, k], np.int32))
            weight = self._emit(Slice(inputs=(joined, begin, one), name=f"{part}/probability"))
            total = f"{name}/mixed" if k == len(kernels) - 1 else f"{part}/sum"
            weighed = total if len(kernels) == 1 else f"{part}/weighed"
            term = self.mul(self.depthwise(x, kernel, offset, name=part), weight, name=weighed)
            mixed = term if mixed is None else self.add(mixed, term, name=total)
        assert mixed is not None
        return mixed

    def _activation(
        self, name: str, fixed_range: Range | None, symmetric: bool = False
    ) -> Quantisation | None:
        return None

    def _convolution_constants(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        return (
            Tensor(f"{name}/weight", weight.shape, "float32", data=weight.astype(np.float32)),
            Tensor(f"{name}/bias", bias.shape, "float32", data=bias.astype(np.float32)),
        )

    def _lowest(self, x: Tensor, name: str) -> Tensor:
        lowest = np.array([np.finfo(np.float32).min], np.float32)
        return Tensor(name, (1,), "float32", data=lowest)

    def _constant_like(self, name: str, value: float) -> Tensor:
        return self._constant(name, value, 4)

    def _constant(self, name: str, value: float, rank: int) -> Tensor:
        data = np.full((1,) * rank, value, np.float32)
        return Tensor(name, data.shape, "float32", data=data)
