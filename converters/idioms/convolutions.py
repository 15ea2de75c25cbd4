"""Convolutions, the padding before them, and pooling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.constants import integers
from qlvit_edge.converters.idioms.layout import box, pad_map
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.shape import PadV2
from qlvit_edge.errors import ConversionError

Stride = int | tuple[int, int]

LARGEST_GAIN = 128.0
"""Steps of an output that one step of an accumulator may be; XNNPACK refuses a file from 256 on."""


def conv(
    writer: Writer,
    x: Tensor,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Stride = 1,
    relu: bool = False,
    name: str,
    fixed_range: Range | None = None,
) -> Tensor:
    """Convolve without padding; see :func:`pad`.

    Args:
        writer: takes the operations.
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
    values = np.asanyarray(weight, np.float64)
    constants = weights(writer, x, values, bias, 0, name)
    return _convolution(Conv2D, writer, x, constants, stride, relu, name, fixed_range)


def depthwise(
    writer: Writer,
    x: Tensor,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Stride = 1,
    relu: bool = False,
    name: str,
    fixed_range: Range | None = None,
    symmetric: bool = False,
) -> Tensor:
    """Convolve every channel with its own kernel, without padding; see :func:`pad`.

    Args:
        writer: takes the operations.
        x: (1, H, W, C).
        weight: (kh, kw, C·m), real; output channel c·m + j reads input channel c.
        bias: (C·m,), real; None for zeros.
        stride: rows and columns.
        relu: clip the result at 0 from below.
        name: name of the result.
        fixed_range: range known without calibration.
        symmetric: give the result zero point 0.
    """
    values = np.asanyarray(weight, np.float64)[None]
    constants = weights(writer, x, values, bias, 3, name)
    return _convolution(
        DepthwiseConv2D, writer, x, constants, stride, relu, name, fixed_range, symmetric
    )


def _convolution(
    kind: type[Conv2D] | type[DepthwiseConv2D],
    writer: Writer,
    x: Tensor,
    constants: tuple[Tensor, Tensor],
    stride: Stride,
    relu: bool,
    name: str,
    fixed_range: Range | None,
    symmetric: bool = False,
) -> Tensor:
    quantisation = convolved(
        writer, x, constants[0], name, fixed_range, relu=relu, symmetric=symmetric
    )
    return writer.emit(
        kind(
            inputs=(x, *constants),
            name=name,
            quantisation=quantisation,
            stride=_pair(stride),
            activation="RELU" if relu else "NONE",
        )
    )


def dense(
    writer: Writer,
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
    values = np.asanyarray(weight, np.float64)[:, None, None, :]
    return conv(writer, x, values, bias, relu=relu, name=name, fixed_range=fixed_range)


def pad(
    writer: Writer, x: Tensor, top: int, bottom: int, left: int, right: int, *, name: str
) -> Tensor:
    """Pad a map with real zeros.

    How it is written at last is up to :mod:`qlvit_edge.converters.rewrites.padding`.
    """
    return pad_map(writer, x, ((top, bottom), (left, right)), name=name)


def max_pool_3x3_s2(writer: Writer, x: Tensor, *, name: str) -> Tensor:
    """Take the maximum of 3×3 windows, stride 2, padding 1 that never wins (PyTorch's).

    Float: PADV2 with the lowest value. Int8: the first row and column twice instead, which a
    maximum of a map with even sides does not see; PADV2 would leave the delegate, and the Edge
    TPU has none.
    """
    match writer.numerics:
        case Int8():
            tall = _first_twice(writer, x, 1, f"{name}/tall")
            padded = _first_twice(writer, tall, 2, f"{name}/wide")
        case Float() as numerics:
            amounts = integers(f"{name}/padded/amounts", [(0, 0), (1, 1), (1, 1), (0, 0)])
            lowest = numerics.lowest(x, f"{name}/lowest")
            padded = writer.emit(
                PadV2(
                    inputs=(x, amounts, lowest),
                    name=f"{name}/padded",
                    quantisation=x.quantisation,
                )
            )
    return writer.emit(
        MaxPool2D(
            inputs=(padded,),
            name=name,
            quantisation=x.quantisation,
            window=(3, 3),
            stride=(2, 2),
        )
    )


def _first_twice(writer: Writer, x: Tensor, axis: int, name: str) -> Tensor:
    size = tuple(1 if i == axis else side for i, side in enumerate(x.shape))
    first = box(writer, x, (0, 0, 0, 0), size, name=f"{name}/first")
    return writer.emit(
        Concatenation(inputs=(first, x), name=name, quantisation=x.quantisation, axis=axis)
    )


def weights(
    writer: Writer,
    x: Tensor,
    weight: NDArray[np.float64],
    bias: ArrayLike | None,
    axis: int,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution of `x` as constants.

    Args:
        writer: says in which arithmetic.
        x: what is convolved; where it holds a multiple, the weights divide.
        weight: real.
        bias: (channels,), real; None for zeros.
        axis: of the output channels.
        name: of the convolution.

    Raises:
        ConversionError: another number of biases than of channels.
    """
    channels = weight.shape[axis]
    offset = np.zeros(channels) if bias is None else np.asanyarray(bias, np.float64)
    if offset.shape != (channels,):
        raise ConversionError(
            name, f"bias {offset.shape} for {channels} channels", "give one per channel"
        )
    return writer.numerics.weights(x, weight * (1 / x.multiple), offset, axis, name)


def convolved(
    writer: Writer,
    x: Tensor,
    weight: Tensor,
    name: str,
    fixed_range: Range | None = None,
    *,
    relu: bool = False,
    symmetric: bool = False,
) -> Quantisation | None:
    """Return the quantisation of a convolution's output.

    XNNPACK refuses a file in which one step of an accumulator is 256 steps of the output,
    as of a channel that calibration saw next to silent: its steps are made larger.
    """
    extent = (0.0, fixed_range[1]) if relu and fixed_range else fixed_range
    wanted = writer.numerics.activation(name, extent, symmetric=symmetric)
    if wanted is None or weight.quantisation is None or fixed_range is not None:
        return wanted
    smallest = x.scale * max(weight.quantisation.scale) / LARGEST_GAIN
    return replace(wanted, scale=(max(wanted.scale[0], smallest),))


def _pair(stride: Stride) -> tuple[int, int]:
    return (stride, stride) if isinstance(stride, int) else stride
