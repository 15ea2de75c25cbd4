"""Layers of univariate functions on a shared grid (eq. 11, 12)."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.builder.base import Range
from qlvit_edge.converters.builder.convolutions import ConvolutionBuilder
from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.errors import ConversionError


class KanBuilder(ConvolutionBuilder):
    """Bases at every position of a map, then their coefficients as a convolution."""

    @abstractmethod
    def _grid_position(
        self,
        x: Tensor,
        factor: NDArray[np.float64],
        offset: NDArray[np.float64],
        intervals: int,
        name: str,
    ) -> Tensor:
        """``factor[c] · x + offset[c]``; only values within 0 … intervals matter."""

    @abstractmethod
    def _ramps(self, position: Tensor, intervals: int, name: str) -> Tensor:
        """``clip(position - i, 0, 1)`` for every interval i: (1, n) to (1, intervals, n)."""

    @abstractmethod
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
        """Evaluate cubic splines at positions 0 … intervals; see :meth:`cubic_kan_layer`."""

    def cubic_kan_layer(
        self,
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
        where B is the cubic B-spline about 0, of support (-2, 2).

        Args:
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
        channels = x.shape[3]
        factor = np.broadcast_to(np.asarray(scale, np.float64), (channels,))
        offset = np.broadcast_to(np.asarray(shift, np.float64), (channels,))
        position = x
        if np.any(factor != 1) or np.any(offset != 0):
            position = self._grid_position(x, factor, offset, intervals, f"{name}/position")
        linear = np.asarray(base, np.float64)
        constant = np.zeros(len(linear)) if bias is None else np.asarray(bias, np.float64)
        values = np.asarray(weight, np.float64)
        return self._spline_sum(
            position, intervals, reach, values, linear, constant, name, fixed_range
        )

    def kan_layer(
        self,
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

        The ramps stand above each other, not side by side: one broadcast ADD makes them all
        (in integers saturation clips for free) and a convolution with a kernel of G rows, a
        map's height apart, contracts them. That takes 0.5-0.7 times as long as G ADDs, a
        concatenation and a 1×1 convolution.

        An `x` that is already the position on the grid (scale 1, shift 0, knots 0 … G) saves
        a convolution: fold the affine map into the layer before, with fixed range (0, G).

        Args:
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
        _, height, width, channels = x.shape
        ramps, intervals = self._stacked_ramps(x, scale, shift, knots, name)
        ramps = self.reshape(
            ramps, (1, intervals * height, width, channels), name=f"{name}/stacked"
        )
        kernel = np.asarray(weight, np.float64)[:, :, None, :]
        constants = self._weight_and_bias(ramps, kernel, bias, 0, name)
        return self._emit(
            Conv2D(
                inputs=(ramps, *constants),
                name=name,
                quantisation=self._convolved(ramps, constants[0], name, False, fixed_range),
                dilation=height,
            )
        )

    def _stacked_ramps(
        self, x: Tensor, scale: ArrayLike, shift: ArrayLike, knots: ArrayLike, name: str
    ) -> tuple[Tensor, int]:
        """Return the ramps (1, G, H·W·C), and G."""
        position, intervals = self._position(x, scale, shift, knots, name)
        elements = int(np.prod(x.shape))
        flat = self.reshape(position, (1, 1, elements), name=f"{position.name}/flat")
        return self._ramps(flat, intervals, f"{name}/ramps"), intervals

    def _position(
        self, x: Tensor, scale: ArrayLike, shift: ArrayLike, knots: ArrayLike, name: str
    ) -> tuple[Tensor, int]:
        """Return where `x` is on the grid, 0 … G between its ends, and G."""
        grid = np.asarray(knots, np.float64)
        steps = np.diff(grid)
        if len(grid) < 2 or not np.allclose(steps, steps[0]) or steps[0] <= 0:
            raise ConversionError(name, f"knots {grid}", "the KAN basis needs an even grid")
        channels = x.shape[3]
        factor = np.broadcast_to(np.asarray(scale, np.float64), (channels,)) / steps[0]
        offset = (np.broadcast_to(np.asarray(shift, np.float64), (channels,)) - grid[0]) / steps[0]
        position = x
        if np.any(factor != 1) or np.any(offset != 0):
            position = self._grid_position(x, factor, offset, len(steps), f"{name}/position")
        return position, len(steps)
