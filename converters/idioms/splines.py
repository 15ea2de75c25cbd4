"""KAN layers of cubic B-splines (eq. 11, 12), with SiLU beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.arithmetic import add
from qlvit_edge.converters.idioms.constants import integer_like, real, stored
from qlvit_edge.converters.idioms.convolutions import conv, weights
from qlvit_edge.converters.idioms.kan import grid_position
from qlvit_edge.converters.idioms.layout import reshape
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.activation import Logistic
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Minimum, Mul, Sub
from qlvit_edge.converters.ops.lookup import CastToInt32, Gather
from qlvit_edge.integer.spline import DIVISOR, TRUNCATED_CUBES, spline_table

Array = NDArray[np.float64]


def cubic_kan_layer(
    writer: Writer,
    x: Tensor,
    *,
    scale: ArrayLike,
    shift: ArrayLike,
    intervals: int,
    reach: float,
    weight: ArrayLike,
    base: ArrayLike,
    bias: ArrayLike | None = None,
    name: str,
    fixed_range: Range | None = None,
) -> Tensor:
    """Evaluate a KAN layer of cubic B-splines (eq. 11, 12) at every position of a map.

    With ``p = clip(scale[c] · x[c] + shift[c], 0, intervals)`` and
    ``u = 2 · reach · p / intervals - reach``:
    ``out[o] = bias[o] + Σ_c (base[o, c] · silu(u) + Σ_g weight[o, g, c] · B(p - g + 1))``
    where B is the cubic B-spline about 0, see :mod:`qlvit_edge.integer.spline`.

    Float: the formula. Integers: one row of a table for each of 256 positions, then 1×1.

    Args:
        writer: takes the operations.
        x: (1, H, W, C); positions on the grid already with scale 1 and shift 0.
        scale: (C,) or scalar.
        shift: (C,) or scalar.
        intervals: of the even grid.
        reach: the grid spans -reach … reach.
        weight: (O, intervals + 3, C), real.
        base: (O, C), real.
        bias: (O,), real; None for zeros.
        name: name of the result.
        fixed_range: range known without calibration.

    Returns:
        (1, H, W, O).
    """
    position = grid_position(writer, x, scale, shift, intervals, f"{name}/position")
    values, linear = np.asanyarray(weight, np.float64), np.asanyarray(base, np.float64)
    constant = np.zeros(len(linear)) if bias is None else np.asanyarray(bias, np.float64)
    match writer.numerics:
        case Float():
            zero = _scalar(f"{name}/0", 0.0)
            clipped = _clipped_positions(writer, position, intervals, zero, name)
            bases = _bases(writer, clipped, intervals, zero, name)
            splines = _weighted_sum(writer, bases, position.shape, values, constant, name)
            silu = _silu(writer, clipped, intervals, reach, name)
            silu = reshape(writer, silu, position.shape, name=f"{name}/silu/map")
            own = conv(writer, silu, linear[:, None, None], name=f"{name}/base")
            return add(writer, splines, own, name=name)
        case Int8():
            features, spans, lowest = _features(writer, position, intervals, reach, name)
            # (O, C, columns): the columns' own spans go into the weights, SiLU's lowest into
            # the bias.
            every = np.concatenate([values.transpose(0, 2, 1), linear[:, :, None]], 2) * spans
            kernel = every.reshape(len(every), 1, 1, -1)
            constant = constant + lowest * linear.sum(1)
            return conv(writer, features, kernel, constant, name=name, fixed_range=fixed_range)


# -- float ----------------------------------------------------------------------------------


def _scalar(name: str, value: float) -> Tensor:
    return real(name, np.full((1, 1, 1), value))


def _clipped_positions(
    writer: Writer, position: Tensor, intervals: int, zero: Tensor, name: str
) -> Tensor:
    """Positions 0 … intervals, flat: (1, 1, H·W·C)."""
    elements = int(np.prod(position.shape))
    flat = reshape(writer, position, (1, 1, elements), name=f"{name}/flat")
    last = _scalar(f"{name}/last", intervals)
    above = writer.emit(Maximum(inputs=(flat, zero), name=f"{name}/above"))
    return writer.emit(Minimum(inputs=(above, last), name=f"{name}/clipped"))


def _weighted_sum(
    writer: Writer, bases: Tensor, shape: tuple[int, ...], weight: Array, bias: Array, name: str
) -> Tensor:
    """Contract the bases, which stand above each other, as the ramps of linear layers do."""
    _, height, width, channels = shape
    stack = (1, weight.shape[1] * height, width, channels)
    stacked = reshape(writer, bases, stack, name=f"{name}/stacked")
    constants = weights(writer, stacked, weight[:, :, None, :], bias, 0, f"{name}/splines")
    return writer.emit(
        Conv2D(inputs=(stacked, *constants), name=f"{name}/splines", dilation=height)
    )


def _bases(writer: Writer, position: Tensor, intervals: int, zero: Tensor, name: str) -> Tensor:
    """Every basis at (1, 1, n) positions: (1, intervals + 3, n)."""
    centres = real(f"{name}/centres", np.arange(-1, intervals + 2).reshape(1, -1, 1))
    moved = writer.emit(Sub(inputs=(position, centres), name=f"{name}/moved"))
    opposite = writer.emit(Sub(inputs=(zero, moved), name=f"{name}/opposite"))
    distance = writer.emit(Maximum(inputs=(moved, opposite), name=f"{name}/distance"))
    cubes = []
    for extent, factor in TRUNCATED_CUBES:
        part = f"{name}/within{extent:.0f}"
        end = _scalar(f"{part}/extent", extent)
        left = writer.emit(Sub(inputs=(end, distance), name=f"{part}/left"))
        inside = writer.emit(Maximum(inputs=(left, zero), name=f"{part}/inside"))
        square = writer.emit(Mul(inputs=(inside, inside), name=f"{part}/square"))
        cube = writer.emit(Mul(inputs=(square, inside), name=f"{part}/cube"))
        share = _scalar(f"{part}/share", abs(factor) / DIVISOR)
        cubes.append(writer.emit(Mul(inputs=(cube, share), name=f"{part}/weighed")))
    wide, narrow = cubes
    return writer.emit(Sub(inputs=(wide, narrow), name=f"{name}/bases"))


def _silu(writer: Writer, clipped: Tensor, intervals: int, reach: float, name: str) -> Tensor:
    step, end = _scalar(f"{name}/step", 2 * reach / intervals), _scalar(f"{name}/reach", reach)
    scaled = writer.emit(Mul(inputs=(clipped, step), name=f"{name}/scaled"))
    u = writer.emit(Sub(inputs=(scaled, end), name=f"{name}/u"))
    gate = writer.emit(Logistic(inputs=(u,), name=f"{name}/gate"))
    return writer.emit(Mul(inputs=(u, gate), name=f"{name}/silu"))


# -- integers -------------------------------------------------------------------------------


def _features(
    writer: Writer, position: Tensor, intervals: int, reach: float, name: str
) -> tuple[Tensor, Array, float]:
    """Look up bases and SiLU, side by side: (1, H, W, C · columns), with spans and lowest."""
    _, height, width, channels = position.shape
    table = spline_table(position.scale, position.zero_point, intervals, reach)
    quantisation = Quantisation((table.scale,), table.zero_point)
    plain = writer.emit(CastToInt32(inputs=(position,), name=f"{name}/position/int32"))
    to_index = integer_like(f"{name}/to_index", 128, position)
    index = writer.emit(Add(inputs=(plain, to_index), name=f"{name}/index"))
    rows = stored(f"{name}/spline_table", table.values, quantisation)
    features = writer.emit(
        Gather(inputs=(rows, index), name=f"{name}/features", quantisation=quantisation)
    )
    shape = (1, height, width, channels * table.values.shape[1])
    joined = reshape(writer, features, shape, name=f"{name}/joined")
    return joined, table.spans, table.silu_lowest
