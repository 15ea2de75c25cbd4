"""Dynamic convolution: one grouped convolution and one product, rounded once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.builder import Log2Probabilities
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.integer_builder.base import IntegerBase
from qlvit_edge.converters.ops.convolution import Conv2D, DynamicDepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add, Mul, RightShift
from qlvit_edge.converters.ops.lookup import CastToInt32
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.reduction import Sum
from qlvit_edge.converters.ops.relabel import Relabel, Vector
from qlvit_edge.integer.mixture import largest_mixture
from qlvit_edge.integer.uniform import round_half_away

_BIAS_BITS = 7  # below a step of the accumulator: what a probability's int8 has
_LARGEST_BIAS = 2.0**22  # with these bits below 2^30, twice
_GROUP = 8  # channels that the kernels of a dynamic convolution share a group with


class DynamicConvolutionBuilder(IntegerBase):
    """All kernels side by side, then mixed."""

    dynamic_form = "mixed first"

    def dynamic_depthwise(
        self,
        x: Tensor,
        probabilities: Log2Probabilities,
        weights: ArrayLike,
        biases: ArrayLike,
        *,
        name: str,
    ) -> Tensor:
        """See the base class: the kernels are mixed first, then convolve once.

        ``Σ_k p_k (W_k * x + b_k) = (Σ_k p_k W_k) * x + Σ_k p_k b_k``. A 1×1 convolution of the
        probabilities gives the mixed kernel in units of the largest that each channel can have;
        the bias is summed in int32. What is rounded is the mixed kernel and the result.
        """
        if self.dynamic_form == "side by side":
            return self._side_by_side(x, probabilities, weights, biases, name=name)
        kernels, offsets = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
        _, rows, columns, channels = kernels.shape
        source, padding = self._absorbed_padding(x, (rows, columns), (1, 1))
        mixed = self._activation(f"{name}/mixed", None)
        assert mixed is not None
        shares = probabilities.joined()
        # A step of the accumulator must not be too small for bias and zero point.
        reach = largest_mixture(kernels).max((0, 1)) / 127
        least = np.maximum(largest_mixture(offsets), 256 * mixed.scale[0]) / _LARGEST_BIAS
        scales = np.maximum(reach, least / source.scale).astype(np.float32).astype(np.float64)
        kernel = self._mixed_kernel(shares, kernels / scales, scales, name)
        units = source.scale * scales
        zero = (mixed.zero_point + 128) * mixed.scale[0] / units
        bias = self._mixed_bias(shares, offsets / units, zero, units, name)
        shifted = self._emit(
            DynamicDepthwiseConv2D(
                inputs=(source, kernel, bias),
                name=f"{name}/shifted",
                quantisation=Quantisation(mixed.scale, -128),
                padding=padding,
            )
        )
        return self._relabelled(shifted, shifted.shape, mixed, f"{name}/mixed")

    def _mixed_kernel(
        self, shares: Tensor, kernels: NDArray[np.float64], scales: NDArray[np.float64], name: str
    ) -> Tensor:
        """Return Σ_k p_k W_k (1, kh, kw, C) from kernels (K, kh, kw, C) in steps of `scales`."""
        count, rows, columns, channels = kernels.shape
        constants = self._weight_and_bias(
            shares, kernels.reshape(count, -1).T[:, None, None, :], None, 0, f"{name}/kernels"
        )
        flat = self._emit(
            Conv2D(
                inputs=(shares, *constants),
                name=f"{name}/kernel/steps",
                quantisation=Quantisation((1.0,), 0),
            )
        )
        per_channel = Quantisation(tuple(scales.tolist()), 0, 3)
        return self._relabelled(flat, (1, rows, columns, channels), per_channel, f"{name}/kernel")

    def _mixed_bias(
        self,
        shares: Tensor,
        offsets: NDArray[np.float64],
        constant: NDArray[np.float64],
        units: NDArray[np.float64],
        name: str,
    ) -> Tensor:
        """Return Σ_k p_k b_k + constant (C,) in int32, from b (K, C) in `units`."""
        count, channels = offsets.shape
        plain = self._emit(CastToInt32(inputs=(shares,), name=f"{name}/shares/int32"))
        column = self.reshape(plain, (1, count, 1), name=f"{name}/shares/column")
        finer = offsets * (shares.scale * 2**_BIAS_BITS)
        terms = self._emit(
            Mul(inputs=(column, _int32(f"{name}/biases", finer[None])), name=f"{name}/bias/terms")
        )
        axes = Tensor(f"{name}/bias/axis", (1,), "int32", data=np.array([1], np.int32))
        total = self._emit(Sum(inputs=(terms, axes), name=f"{name}/bias/sum"))
        zero = constant * 2**_BIAS_BITS + 2 ** (_BIAS_BITS - 1)
        raised = self._emit(
            Add(
                inputs=(total, _int32(f"{name}/bias/zero", zero[None, None])),
                name=f"{name}/bias/raised",
            )
        )
        bits = self._scalar(f"{name}/bias/bits", _BIAS_BITS, raised)
        steps = self._emit(RightShift(inputs=(raised, bits), name=f"{name}/bias/steps"))
        shape = Tensor(f"{name}/bias/shape", (1,), "int32", data=np.array([channels], np.int32))
        return self._emit(
            Vector(
                inputs=(steps, shape),
                name=f"{name}/bias",
                quantisation=Quantisation(tuple(units.tolist()), 0, 0),
            )
        )

    def _relabelled(
        self, x: Tensor, shape: tuple[int, ...], quantisation: Quantisation, name: str
    ) -> Tensor:
        target = np.array(shape, np.int32)
        constant = Tensor(f"{name}/shape", target.shape, "int32", data=target)
        return self._emit(Relabel(inputs=(x, constant), name=name, quantisation=quantisation))

    def _side_by_side(
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

    def _diagonals(self, name: str, together: int, count: int, group: int) -> Tensor:
        """Ones where row (g, k, c) meets column (g, c): (1, g, k, c · columns), flat."""
        rows = np.eye(together * group, dtype=np.int8).reshape(together, 1, group, -1)
        values = np.tile(127 * rows, (1, count, 1, 1)).reshape(1, together, count, -1)
        return Tensor(name, values.shape, "int8", Quantisation((1 / 127,), 0), values)


def _int32(name: str, values: NDArray[np.float64]) -> Tensor:
    stored = round_half_away(values).astype(np.int32)
    return Tensor(name, stored.shape, "int32", data=stored)
