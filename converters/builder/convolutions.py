"""Convolutions, pooling and the padding before them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.builder.base import Amounts, Range
from qlvit_edge.converters.builder.layout import LayoutBuilder
from qlvit_edge.converters.graph import Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D, Padding, same_padding
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.shape import Pad, PadV2
from qlvit_edge.errors import ConversionError

Stride = int | tuple[int, int]

_FEW_CHANNELS = 4
_LARGEST_GAIN = 128.0


class ConvolutionBuilder(LayoutBuilder):
    """Weights meet maps."""

    @abstractmethod
    def _convolution_constants(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        """Weight (one scale per slice along `axis`) and bias of a convolution of `x`."""

    @abstractmethod
    def _lowest(self, x: Tensor, name: str) -> Tensor:
        """A constant (1,) that no value of `x` is below."""

    def conv(
        self,
        x: Tensor,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: Stride = 1,
        relu: bool = False,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Convolve without padding; see :meth:`pad`.

        Args:
            x: (1, H, W, I).
            weight: (O, kh, kw, I), real.
            bias: (O,), real; None for zeros.
            stride: rows and columns.
            relu: clip the result at 0 from below.
            name: name of the result.
            fixed_range: range known without calibration.

        Returns:
            (1, (H - kh) // stride + 1, (W - kw) // stride + 1, O).
        """
        values = np.asarray(weight, np.float64) * self._shares.get(x.name, 1.0)
        step = _pair(stride)
        x, padding = self._absorbed_padding(x, values.shape[1:3], step)
        if x.name in self._padded and step[1] > 1 and x.shape[3] <= _FEW_CHANNELS:
            x, values, step = self._folded_columns(x, values, step, name)
        constants = self._weight_and_bias(x, values, bias, 0, name)
        return self._emit(
            Conv2D(
                inputs=(x, *constants),
                name=name,
                quantisation=self._convolved(x, constants[0], name, relu, fixed_range),
                stride=step,
                padding=padding,
                activation="RELU" if relu else "NONE",
            )
        )

    def depthwise(
        self,
        x: Tensor,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: Stride = 1,
        relu: bool = False,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Convolve every channel with its own kernel, without padding; see :meth:`pad`.

        Args:
            x: (1, H, W, C).
            weight: (kh, kw, C·m), real; output channel c·m + j reads input channel c.
            bias: (C·m,), real; None for zeros.
            stride: rows and columns.
            relu: clip the result at 0 from below.
            name: name of the result.
            fixed_range: range known without calibration.
        """
        values = np.asarray(weight, np.float64)[None]
        x, padding = self._absorbed_padding(x, values.shape[1:3], _pair(stride))
        constants = self._weight_and_bias(x, values, bias, 3, name)
        return self._emit(
            DepthwiseConv2D(
                inputs=(x, *constants),
                name=name,
                quantisation=self._convolved(x, constants[0], name, relu, fixed_range),
                stride=_pair(stride),
                padding=padding,
                activation="RELU" if relu else "NONE",
            )
        )

    def dense(
        self,
        x: Tensor,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        relu: bool = False,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Apply a linear layer to (1, 1, 1, I) with real (O, I) weights; returns (1, 1, 1, O).

        Written as a 1×1 convolution: every kernel set takes that per output channel.
        """
        values = np.asarray(weight, np.float64)[:, None, None, :]
        return self.conv(x, values, bias, relu=relu, name=name, fixed_range=fixed_range)

    def pad(self, x: Tensor, top: int, bottom: int, left: int, right: int, *, name: str) -> Tensor:
        """Pad a map with real zeros.

        A convolution that reads the result and would pad the same with TFLite's SAME does it
        itself; a padded map that nothing else reads is then left out of the graph.
        """
        self._padded[name] = (x, ((top, bottom), (left, right)))
        return self._pad_rows(x, ((top, bottom), (left, right)), None, name)

    def max_pool_3x3_s2(self, x: Tensor, *, name: str) -> Tensor:
        """Take the maximum of 3×3 windows, stride 2, padding 1 that never wins (PyTorch's)."""
        lowest = self._lowest(x, f"{name}/lowest")
        padded = self._pad_rows(x, ((1, 1), (1, 1)), lowest, f"{name}/padded")
        return self._emit(
            MaxPool2D(
                inputs=(padded,),
                name=name,
                quantisation=x.quantisation,
                window=(3, 3),
                stride=(2, 2),
            )
        )

    def _pad_rows(
        self, x: Tensor, amounts: tuple[Amounts, Amounts], value: Tensor | None, name: str
    ) -> Tensor:
        """Pad (1, H, W·C) rows: kernels then copy rows, not pixels (3 µs, not 96, for 96×96×3)."""
        _, height, width, channels = x.shape
        rows = self.reshape(x, (1, height, width * channels), name=f"{name}/rows")
        (top, bottom), (left, right) = amounts
        table = np.array([[0, 0], [top, bottom], [left * channels, right * channels]], np.int32)
        constant = Tensor(f"{name}/amounts", (3, 2), "int32", data=table)
        operation: Operation
        if value is None:
            operation = Pad(
                inputs=(rows, constant), name=f"{name}/rows/padded", quantisation=x.quantisation
            )
        else:
            operation = PadV2(
                inputs=(rows, constant, value),
                name=f"{name}/rows/padded",
                quantisation=x.quantisation,
            )
        shape = (1, height + top + bottom, width + left + right, channels)
        return self.reshape(self._emit(operation), shape, name=name)

    def _folded_columns(
        self, x: Tensor, weight: NDArray[np.float64], stride: tuple[int, int], name: str
    ) -> tuple[Tensor, NDArray[np.float64], tuple[int, int]]:
        """Read as many columns as the stride as channels of one cell, which is free.

        Kernels round the channels of every tap up to 4 or 8: three are dear (35 µs for a 7×7/4
        stem on 96×96; 4·3 channels and two taps a row instead of seven, the eighth zero: 22).
        """
        outputs, rows, columns, channels = weight.shape
        source, ((top, _), (left, _)) = self._padded[x.name]
        _, height, width, _ = source.shape
        taps = -(-columns // stride[1])
        cells = (x.shape[2] - columns) // stride[1] + taps
        read = ((x.shape[1] - rows) // stride[0]) * stride[0] + rows
        bottom, right = read - height - top, cells * stride[1] - width - left
        if bottom < 0 or right < 0:
            return x, weight, stride
        padded = self._pad_rows(source, ((top, bottom), (left, right)), None, f"{name}/folded")
        cell = stride[1] * channels
        folded = self.reshape(padded, (1, read, cells, cell), name=f"{name}/cells")
        wide = np.zeros((outputs, rows, taps * stride[1], channels))
        wide[:, :, :columns] = weight
        return folded, wide.reshape(outputs, rows, taps, cell), (stride[0], 1)

    def _absorbed_padding(
        self, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, int]
    ) -> tuple[Tensor, Padding]:
        if x.name not in self._padded:
            return x, "VALID"
        source, amounts = self._padded[x.name]
        same = tuple(
            same_padding(size, extent, step)
            for size, extent, step in zip(source.shape[1:3], kernel, stride, strict=True)
        )
        return (source, "SAME") if same == amounts else (x, "VALID")

    def _convolved(
        self, x: Tensor, weight: Tensor, name: str, relu: bool, fixed_range: Range | None
    ) -> Quantisation | None:
        """Quantisation of a convolution's output.

        XNNPACK refuses a file in which one step of an accumulator is 256 steps of the output,
        as of a channel that calibration saw next to silent: its steps are made larger.
        """
        wanted = self._activation(
            name, (0.0, fixed_range[1]) if relu and fixed_range else fixed_range
        )
        if wanted is None or weight.quantisation is None or fixed_range is not None:
            return wanted
        smallest = x.scale * max(weight.quantisation.scale) / _LARGEST_GAIN
        return Quantisation((max(wanted.scale[0], smallest),), wanted.zero_point)

    def _weight_and_bias(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: ArrayLike | None,
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        channels = weight.shape[axis]
        values = np.zeros(channels) if bias is None else np.asarray(bias, np.float64)
        if values.shape != (channels,):
            raise ConversionError(
                name, f"bias {values.shape} for {channels} channels", "give one per channel"
            )
        return self._convolution_constants(x, weight, values, axis, name)


def _pair(stride: Stride) -> tuple[int, int]:
    return (stride, stride) if isinstance(stride, int) else stride
