"""CONV_2D and DEPTHWISE_CONV_2D, weights symmetric int8 with a scale per output channel.

Activations are int8 with an int32 bias, or int16 with an int64 one.
"""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Array, Encoding, Operation, Quantisation, Stored
from qlvit_edge.converters.ops.carrier import carrier, largest_product_sum
from qlvit_edge.converters.ops.requantise import require_symmetric
from qlvit_edge.converters.ops.sums import beyond_32_bits, sum_bounds
from qlvit_edge.integer import xnnpack
from qlvit_edge.integer.requantise import (
    multiply_64_by_quantized_multiplier,
    quantize_multiplier,
    requantise,
    saturate_16,
)
from qlvit_edge.integer.xnnpack import Form

Activation = Literal["NONE", "RELU"]
Clip = Literal[Activation, "RELU_N1_TO_1"]
ACTIVATION_CODE = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2}
Padding = Literal["SAME", "VALID"]
PADDING_CODE = {"SAME": 0, "VALID": 1}
UNIT_QUANTISATION = Quantisation((1 / 127,), 0)
"""Of what RELU_N1_TO_1 clips."""
_LARGEST_DYNAMIC = 2048  # 32-bit sums that the builtin depthwise kernel holds at once


@dataclass(frozen=True, eq=False, kw_only=True)
class _WithWeights(Operation):
    """What both have in common: inputs (x, weight, bias), one scale per output channel.

    Attributes:
        activation: fused; RELU clips at the output's zero point, RELU_N1_TO_1 at -127 and 127,
            which stand for -1 and 1.
        stride: rows, columns.
        padding: SAME pads with real zeros as TFLite does, the odd one at bottom and right.
    """

    activation: Clip = "NONE"
    stride: tuple[int, int] = (1, 1)
    padding: Padding = "VALID"

    def check(self) -> None:
        x, weight, bias = self.inputs
        if x.dtype == "float32":
            return
        if weight.quantisation is None or weight.zero_point != 0 or weight.dtype != "int8":
            raise self.refuse("weights are not symmetric int8", "quantise with zero point 0")
        if weight.data is not None and (weight.data == -128).any():
            # Cortex-A72's kernels add two products in int16.
            raise self.refuse("a weight of -128", "quantise to -127 … 127")
        wanted = "int64" if x.dtype == "int16" else "int32"
        if bias.dtype != wanted or self.quantisation is None:
            raise self.refuse(f"bias is not {wanted} or output not quantised", "quantise both")
        if x.dtype == "int16":
            require_symmetric(self)
        self._check_sums()
        if self.activation == "RELU_N1_TO_1" and (
            x.dtype != "int8" or self.quantisation != UNIT_QUANTISATION
        ):
            raise self.refuse("-1 … 1 is clipped at another scale", "use 1/127, zero point 0")

    def _check_sums(self) -> None:
        x, weight, bias = self.inputs
        if x.dtype != "int8" or weight.data is None or bias.data is None:
            return
        axis = 3 if isinstance(self, _Depthwise) else 0
        columns = np.moveaxis(weight.data, axis, 0).reshape(weight.data.shape[axis], -1)
        bounds = sum_bounds(columns, bias.data, x.zero_point)
        if finding := beyond_32_bits(*bounds, self._factors()):
            raise self.refuse(*finding)

    def _factors(self) -> list[float]:
        """By what each channel's sum is brought to the output's scale, in double as the kernels."""
        x, weight, _ = self.inputs
        if weight.quantisation is None or self.quantisation is None:
            raise self.refuse("weights or output without scales", "quantise them")
        (output,) = self.quantisation.scale
        return [x.scale * scale / output for scale in weight.quantisation.scale]

    def lowest(self) -> int:
        """Return the least stored value that type and fused activation let through."""
        if self.activation == "RELU_N1_TO_1":
            return -127
        if self.activation == "RELU":
            return self.output.zero_point
        return int(np.iinfo(self.output.dtype).min)

    def extent(self) -> tuple[int, int]:
        """Return the rows and columns that one output sees."""
        height, width = self.inputs[1].shape[1:3]
        return height, width

    def output_size(self) -> tuple[int, int]:
        """Return rows and columns of the output."""
        height, width = self.inputs[0].shape[1:3]
        if self.padding == "SAME":
            return -(-height // self.stride[0]), -(-width // self.stride[1])
        rows, columns = self.extent()
        return (height - rows) // self.stride[0] + 1, (width - columns) // self.stride[1] + 1

    def centred(self, x: Array, dtype: type[np.generic]) -> Array:
        """Return stored values minus the zero point, padded as `padding` says."""
        values: Array = x.astype(dtype) - self.inputs[0].zero_point
        if self.padding == "VALID":
            return values
        amounts = [
            same_padding(size, extent, stride)
            for size, extent, stride in zip(x.shape[1:3], self.extent(), self.stride, strict=True)
        ]
        return np.pad(values, ((0, 0), *amounts, (0, 0)))

    @abstractmethod
    def accumulate(self, *arrays: Array) -> Array:
        """Return the inner products (B, rows, columns, O) without the bias: exact integers.

        Their type is whatever carries them exactly.
        """

    def reference(self, *arrays: Array) -> Array:
        return self.finish(self.accumulate(*arrays).astype(np.int64))

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        del form
        x, _, bias = self.inputs
        if x.dtype != "int8":
            return self.reference(*arrays)
        if bias.data is None:
            raise self.refuse("bias not constant", "give a quantised constant")
        products = self.accumulate(*arrays)
        if products.dtype == np.float64:  # may leave int32, and wraps there
            products = products.astype(np.int64)
        return self.xnnpack_biased(products.astype(np.int32) + bias.data)

    def xnnpack_biased(self, total: NDArray[np.int32]) -> Array:
        """Bring an accumulator (…, O) that has its bias to int8, as XNNPACK does."""
        x, weight, _ = self.inputs
        if weight.quantisation is None:
            raise self.refuse("weights without scales", "quantise them")
        factors = xnnpack.channel_factors(x.scale, weight.quantisation.scale, self.output.scale)
        return xnnpack.requantise(total, factors, self.output.zero_point, self.lowest())

    def stored_range(self, *ranges: Stored) -> Stored:
        return self.lowest(), super().stored_range(*ranges)[1]

    def finish(self, accumulator: Array) -> Array:
        """Add the bias and bring the accumulator (…, O) to the output's type."""
        bias = self.inputs[2].data
        if bias is None:
            raise self.refuse("bias not constant", "give a quantised constant")
        return self.finish_biased(accumulator + bias)

    def finish_biased(self, total: Array) -> Array:
        """Bring an accumulator (…, O) that has its bias to the output's type."""
        pairs = [quantize_multiplier(factor) for factor in self._factors()]
        multiplier = np.array([pair[0] for pair in pairs], np.int64)
        shift = np.array([pair[1] for pair in pairs], np.int64)
        zero_point = self.output.zero_point
        if self.output.dtype == "int16":
            scaled = multiply_64_by_quantized_multiplier(total, multiplier, shift)
            return saturate_16(np.maximum(scaled, 0) if self.activation == "RELU" else scaled)
        return requantise(total, multiplier, shift, zero_point, self.lowest())


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2D(_WithWeights):
    """2-D convolution of (1, H, W, I) with weights (O, kh, kw, J) and bias (O,).

    With J < I the channels fall into I / J groups; the first outputs read the first group.

    Attributes:
        dilation: distance between the rows of the kernel.
    """

    dilation: int = 1

    def extent(self) -> tuple[int, int]:
        height, width = super().extent()
        return (height - 1) * self.dilation + 1, width

    def check(self) -> None:
        super().check()
        channels, (outputs, _, _, read) = self.inputs[0].shape[3], self.inputs[1].shape
        if channels % read or outputs % (channels // read):
            raise self.refuse("channels do not fit the weights'", "check the weights")

    def shape_rule(self) -> tuple[int, ...]:
        return (1, *self.output_size(), self.inputs[1].shape[0])

    def accumulate(self, *arrays: Array) -> Array:
        x, weight, _ = arrays
        groups = x.shape[3] // weight.shape[3]
        # Per group a matrix (terms, outputs).
        columns = weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)
        # Exact: float carrying integers, see `carrier`.
        span = 2**15 if self.inputs[0].dtype == "int16" else 255
        exact = carrier(max(largest_product_sum(part, span) for part in columns))
        centred = self.centred(x, exact)
        if self.extent() == (1, 1):
            patches = centred[:, :: self.stride[0], :: self.stride[1], None, None]
        else:
            windows = np.lib.stride_tricks.sliding_window_view(centred, self.extent(), (1, 2))
            strided = windows[:, :: self.stride[0], :: self.stride[1], :, :: self.dilation]
            patches = strided.transpose(0, 1, 2, 4, 5, 3)
        split = patches.reshape(-1, patches.shape[3] * patches.shape[4], groups, weight.shape[3])
        flat = split.transpose(2, 0, 1, 3).reshape(groups, len(split), -1)
        product = np.matmul(flat, columns.astype(exact)).transpose(1, 0, 2)
        return np.asarray(product.reshape(len(x), *self.output.shape[1:]))

    def macs(self) -> int:
        _, height, width, _ = self.output.shape
        return height * width * int(np.prod(self.inputs[1].shape))

    def encoding(self) -> Encoding:
        return Encoding(
            "CONV_2D",
            {"float32": 1, "int16": 4}.get(self.inputs[0].dtype, 3),
            "Conv2DOptions",
            {
                "padding": PADDING_CODE[self.padding],
                "strideH": self.stride[0],
                "strideW": self.stride[1],
                "fusedActivationFunction": ACTIVATION_CODE[self.activation],
                "dilationHFactor": self.dilation,
                "dilationWFactor": 1,
            },
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Depthwise(_WithWeights):
    """Depthwise convolution of (1, H, W, C) with weights (1, kh, kw, C·m) and bias (C·m,).

    Output channel c·m + j reads input channel c, m being the depth multiplier.
    """

    @property
    def depth_multiplier(self) -> int:
        """Return the number of outputs per input channel."""
        return self.inputs[1].shape[3] // self.inputs[0].shape[3]

    def check(self) -> None:
        super().check()
        if self.inputs[1].shape[3] % self.inputs[0].shape[3]:
            raise self.refuse("channels do not divide the weights'", "check the weights")

    def shape_rule(self) -> tuple[int, ...]:
        return (1, *self.output_size(), self.inputs[1].shape[3])

    def accumulate(self, *arrays: Array) -> Array:
        x, weight, *_ = arrays
        _, height, width, _ = self.output.shape
        centred = self.centred(x, np.int32)
        if self.depth_multiplier > 1:
            centred = np.repeat(centred, self.depth_multiplier, axis=3)
        rows, columns = self.stride
        accumulator: NDArray[np.int32] = np.zeros((len(x), *self.output.shape[1:]), np.int32)
        for i in range(weight.shape[1]):
            for j in range(weight.shape[2]):
                tap = centred[
                    :,
                    i : i + rows * (height - 1) + 1 : rows,
                    j : j + columns * (width - 1) + 1 : columns,
                ]
                accumulator += tap * weight[:, None, None, i, j].astype(np.int32)
        return accumulator

    def macs(self) -> int:
        _, height, width, _ = self.output.shape
        return height * width * int(np.prod(self.inputs[1].shape))

    def encoding(self) -> Encoding:
        return Encoding(
            "DEPTHWISE_CONV_2D",
            {"float32": 1, "int16": 5}.get(self.inputs[0].dtype, 3),
            "DepthwiseConv2DOptions",
            {
                "padding": PADDING_CODE[self.padding],
                "strideH": self.stride[0],
                "strideW": self.stride[1],
                "depthMultiplier": self.depth_multiplier,
                "fusedActivationFunction": ACTIVATION_CODE[self.activation],
                "dilationHFactor": 1,
                "dilationWFactor": 1,
            },
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthwiseConv2D(_Depthwise):
    """Depthwise convolution with constant weights and bias."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DynamicDepthwiseConv2D(_Depthwise):
    """Depthwise convolution of int8 with weights and bias that other operations make.

    XNNPACK leaves it to the builtin kernel, which multiplies twice in fixed point like the
    reference, but rounds negative ties of the second rounding up, not away from zero. With zero
    point -128 all that is negative saturates: both give the same bytes for every input.
    """

    def check(self) -> None:
        super().check()
        if self.inputs[0].dtype != "int8" or self.quantisation is None:
            raise self.refuse(f"{self.inputs[0].dtype} input", "convolve int8")
        if self.quantisation.zero_point != -128:
            raise self.refuse(
                "negative sums are not clipped, and the reference rounds them differently",
                "give the output zero point -128",
            )
        channels = self.inputs[1].shape[3]
        if channels > _LARGEST_DYNAMIC:
            raise self.refuse(
                f"{channels} channels", f"the builtin kernel holds {_LARGEST_DYNAMIC} sums"
            )

    def reference(self, *arrays: Array) -> Array:
        products = self.accumulate(*arrays).astype(np.int64)
        return self.finish_biased(products + arrays[2][:, None, None, :])

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        del form
        return self.reference(*arrays)


def same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after a dimension that SAME padding adds."""
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2
