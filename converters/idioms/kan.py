"""Layers of univariate functions on a shared even grid (eq. 11, 12), piecewise linear.

`splines` has the cubic ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.constants import real, stored
from qlvit_edge.converters.idioms.convolutions import conv, convolved, depthwise, weights
from qlvit_edge.converters.idioms.layout import concatenate, reshape
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.convolution import Activation, Conv2D
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Minimum
from qlvit_edge.errors import ConversionError

_UNIT = Quantisation((1 / 255,), -128)  # 0 … 1 in 256 steps; int8 saturation clips for free
_WHOLE = Quantisation((1.0,), 0)  # holds all knots exactly, -i being the stored value


def kan_layer(
    writer: Writer,
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
    """Evaluate a piecewise-linear KAN layer (eq. 11, 12) at every position of a map.

    With ``u = scale[c] · x[c] + shift[c]`` and ramps
    ``r[g, c] = clip((u - knots[g]) / (knots[g+1] - knots[g]), 0, 1)``:
    ``out[o] = bias[o] + Σ_g,c weight[o, g, c] · r[g, c]``.

    Float and int8: the ramps stand above each other, not side by side (in integers saturation
    clips for free), and a convolution with a kernel of G rows, a map's height apart, contracts
    them. The Edge TPU, which has no unequal dilation, gets them side by side and a 1×1
    convolution.

    An `x` that is already the position on the grid (scale 1, shift 0, knots 0 … G) saves
    a convolution: fold the affine map into the layer before, with fixed range (0, G).

    Args:
        writer: takes the operations.
        x: (1, H, W, C).
        scale: (C,) or scalar.
        shift: (C,) or scalar.
        knots: (G + 1,), evenly spaced.
        weight: (O, G, C), real.
        bias: (O,), real; None for zeros.
        name: name of the result.
        fixed_range: range known without calibration.

    Returns:
        (1, H, W, O).

    Raises:
        ConversionError: for a grid that is not even.
    """
    grid, values = np.asarray(knots, np.float64), np.asanyarray(weight, np.float64)
    steps = np.diff(grid)
    if len(grid) < 2 or not np.allclose(steps, steps[0]) or steps[0] <= 0:
        raise ConversionError(name, f"knots {grid}", "the KAN basis needs an even grid")
    factor = np.asanyarray(scale, np.float64) / steps[0]
    offset = (np.asanyarray(shift, np.float64) - grid[0]) / steps[0]
    position = grid_position(writer, x, factor, offset, len(steps), f"{name}/position")
    match writer.numerics:
        case EdgeTpu():
            ramps = _side_by_side(writer, position, len(steps), name)
            kernel = values.reshape(len(values), 1, 1, -1)
            return conv(writer, ramps, kernel, bias, name=name, fixed_range=fixed_range)
        case Float() | Int8():
            ramps = _stacked(writer, position, len(steps), name)
            constants = weights(writer, ramps, values[:, :, None, :], bias, 0, name)
            return writer.emit(
                Conv2D(
                    inputs=(ramps, *constants),
                    name=name,
                    quantisation=convolved(writer, ramps, constants[0], name, fixed_range),
                    dilation=x.shape[1],
                )
            )


def grid_position(
    writer: Writer, x: Tensor, scale: ArrayLike, shift: ArrayLike, intervals: int, name: str
) -> Tensor:
    """Return ``scale[c] · x[c] + shift[c]``, of which only 0 … intervals matters.

    `x` itself where that is what it is. Integers saturate at both ends of the grid.
    """
    channels = (x.shape[3],)
    factor = np.broadcast_to(np.asanyarray(scale, np.float64), channels)
    offset = np.broadcast_to(np.asanyarray(shift, np.float64), channels)
    if np.all(factor == 1) and np.all(offset == 0):
        return x
    extent = (0.0, float(intervals))
    kernel = factor.reshape(1, 1, -1)
    return depthwise(writer, x, kernel, offset, name=name, fixed_range=extent)


def _stacked(writer: Writer, position: Tensor, intervals: int, name: str) -> Tensor:
    """``clip(position - i, 0, 1)`` for every interval i, above each other: (1, G · H, W, C)."""
    match writer.numerics:
        case Float():
            return _stacked_in_float(writer, position, intervals, name)
        case Int8():
            ramps = _ramps(writer, position, intervals, "RELU", name)
            return concatenate(writer, ramps, 1, name=f"{name}/stacked")


def _stacked_in_float(writer: Writer, position: Tensor, intervals: int, name: str) -> Tensor:
    _, height, width, channels = position.shape
    elements = height * width * channels
    flat = reshape(writer, position, (1, 1, elements), name=f"{position.name}/flat")
    ramps = f"{name}/ramps"
    knots = real(f"{ramps}/knots", -np.arange(intervals, dtype=np.float64).reshape(1, -1, 1))
    moved = writer.emit(Add(inputs=(flat, knots), name=f"{ramps}/moved"))
    zero, one = (real(f"{ramps}/{end}", np.full((1, 1, 1), end)) for end in (0, 1))
    above = writer.emit(Maximum(inputs=(moved, zero), name=f"{ramps}/above"))
    values = writer.emit(Minimum(inputs=(above, one), name=ramps))
    shape = (1, intervals * height, width, channels)
    return reshape(writer, values, shape, name=f"{name}/stacked")


def _ramps(
    writer: Writer, position: Tensor, intervals: int, activation: Activation, name: str
) -> tuple[Tensor, ...]:
    """``clip(position - i, 0, 1)`` for every interval i, in integers.

    With RELU, which clips nothing, XNNPACK makes a table of each: 0.6 instructions a value on
    arm64, where the sum alone executes 2.
    """
    ramps = []
    for interval in range(intervals):
        knot = stored(f"{name}/knot{interval}", np.full((1, 1, 1, 1), -interval), _WHOLE)
        ramp = Add(
            inputs=(position, knot),
            name=f"{name}/ramp{interval}",
            quantisation=_UNIT,
            activation=activation,
        )
        ramps.append(writer.emit(ramp))
    return tuple(ramps)


def _side_by_side(writer: Writer, position: Tensor, intervals: int, name: str) -> Tensor:
    """``clip(position - i, 0, 1)`` for every interval i, along the channels: (1, H, W, G · C)."""
    return writer.emit(
        Concatenation(
            inputs=_ramps(writer, position, intervals, "NONE", name),
            name=f"{name}/ramps",
            quantisation=_UNIT,
            axis=3,
        )
    )
