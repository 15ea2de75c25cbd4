"""Bases of the KAN in integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.builder import Range
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.integer_builder.base import IntegerBase
from qlvit_edge.converters.ops.elementwise import Add
from qlvit_edge.converters.ops.lookup import CastToInt32, Gather
from qlvit_edge.integer.spline import spline_table

UNIT = Quantisation((1 / 255,), -128)  # 0 … 1 in 256 steps; int8 saturation clips for free


class IntegerKanBuilder(IntegerBase):
    """Positions on the grid, and what the bases are there."""

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
        return self._emit(Add(inputs=(position, constant), name=name, quantisation=UNIT))

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
        """See the base class: one row of a table for each of 256 positions, then 1×1."""
        _, height, width, channels = position.shape
        table = spline_table(position.scale, position.zero_point, intervals, reach)
        stored = Quantisation((table.scale,), table.zero_point)
        plain = self._emit(CastToInt32(inputs=(position,), name=f"{name}/position/int32"))
        to_index = self._scalar(f"{name}/to_index", 128, position)
        index = self._emit(Add(inputs=(plain, to_index), name=f"{name}/index"))
        rows = Tensor(f"{name}/spline_table", table.values.shape, "int8", stored, table.values)
        features = self._emit(
            Gather(inputs=(rows, index), name=f"{name}/features", quantisation=stored)
        )
        columns = table.values.shape[1]
        side_by_side = self.reshape(
            features, (1, height, width, channels * columns), name=f"{name}/joined"
        )
        # (O, C, columns): the columns' own spans go into the weights, SiLU's lowest into the bias.
        joined = np.concatenate([weight.transpose(0, 2, 1), base[:, :, None]], 2) * table.spans
        return self.conv(
            side_by_side,
            joined.reshape(len(joined), 1, 1, -1),
            bias + table.silu_lowest * base.sum(1),
            name=name,
            fixed_range=fixed_range,
        )
