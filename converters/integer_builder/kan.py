"""Bases of the KAN in integers."""



from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.integer_builder.base import IntegerBase
from qlvit_edge.converters.ops.elementwise import Add

_UNIT = Quantisation((1 / 255,), -128)  # 0 … 1 in 256 steps; int8 saturation clips for free


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
        return self._emit(Add(inputs=(position, constant), name=name, quantisation=_UNIT))
