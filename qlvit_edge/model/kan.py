"""The Kolmogorov-Arnold network that replaces the MLP, eq. 11-13.

A layer holds one univariate function per (output, input) pair, a B-spline on a fixed grid
shared by all, plus a base activation path (Blealtan's efficient parametrisation). Two
layers make the bottleneck d → r → d. Each layer begins with a norm, which keeps each
function's variable on the grid; outside the grid it is clamped.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qlvit_edge.integer.spline import cubic
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.norms import make_norm


class KANLayer(nn.Module):
    """``out_q = Σ_p φ_qp(x_p)`` at every position of a map (eq. 11, 12).

    Attributes:
        coefficients: (O, I, B), B-spline coefficients of φ; B = intervals + order.
        base_weight: (O, I), weight of the base activation path.
    """

    def __init__(self, width_in: int, width_out: int, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = make_norm(config.norm, width_in)
        self.intervals = config.kan_intervals
        self.reach = config.kan_range
        self.step = 2 * self.reach / self.intervals
        self.base_weight = nn.Parameter(torch.empty(width_out, width_in))
        nn.init.kaiming_uniform_(self.base_weight, a=math.sqrt(5))

    def grid_position(self, x: Tensor) -> Tensor:
        """Return the clamped position on the grid, 0 … intervals, for (B, I, H, W)."""
        normalised: Tensor = self.norm(x)
        return ((normalised + self.reach) / self.step).clamp(0.0, float(self.intervals))

    def knots(self) -> Tensor:
        """Return the grid's (intervals + 1) knots in normalised units."""
        return torch.linspace(
            -self.reach, self.reach, self.intervals + 1, device=self.base_weight.device
        )

    def _spline_coefficients(self, count: int) -> nn.Parameter:
        width_out, width_in = self.base_weight.shape
        return nn.Parameter(torch.randn(width_out, width_in, count) * 0.1 / math.sqrt(width_in))


class LinearKANLayer(KANLayer):
    """Order 1: piecewise-linear φ.

    With hat functions, ``φ = c_0 + Σ_i (c_{i+1} - c_i) ramp_i`` where ramp_i rises from 0
    to 1 between knots i and i+1. The base activation is ReLU: with a knot at zero it is
    itself piecewise linear on the grid and costs nothing more.
    """

    def __init__(self, width_in: int, width_out: int, config: NetworkConfig) -> None:
        super().__init__(width_in, width_out, config)
        self.coefficients = self._spline_coefficients(self.intervals + 1)

    def knot_values(self) -> Tensor:
        """Return φ at every knot, (O, I, intervals + 1), base path included."""
        return self.coefficients + self.base_weight[..., None] * torch.relu(self.knots())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, I, H, W) to (B, O, H, W)."""
        position = self.grid_position(x)
        segments = torch.arange(self.intervals, device=x.device, dtype=x.dtype)
        ramps = (position[:, None] - segments.reshape(1, -1, 1, 1, 1)).clamp(0.0, 1.0)
        values = self.knot_values()
        slopes = (values[..., 1:] - values[..., :-1]).transpose(1, 2)  # (O, segments, I)
        return nn.functional.conv2d(
            ramps.flatten(1, 2), slopes.flatten(1)[..., None, None], values[..., 0].sum(1)
        )


class CubicKANLayer(KANLayer):
    """Order 3: cubic B-splines on the uniform grid, SiLU as base activation."""

    def __init__(self, width_in: int, width_out: int, config: NetworkConfig) -> None:
        super().__init__(width_in, width_out, config)
        self.coefficients = self._spline_coefficients(self.intervals + 3)

    def bases(self, position: Tensor) -> Tensor:
        """Return the B-spline values (B, intervals + 3, …) at grid positions (B, …)."""
        centres = torch.arange(-1, self.intervals + 2, device=position.device)
        shape = (1, -1) + (1,) * (position.dim() - 1)
        bases: Tensor = cubic((position[:, None] - centres.reshape(shape)).abs())
        return bases

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, I, H, W) to (B, O, H, W)."""
        position = self.grid_position(x)
        base = nn.functional.silu(position * self.step - self.reach)
        features = torch.cat([self.bases(position), base[:, None]], 1)
        weight = torch.cat([self.coefficients, self.base_weight[..., None]], 2).transpose(1, 2)
        return nn.functional.conv2d(features.flatten(1, 2), weight.flatten(1)[..., None, None])


class KAN(nn.Module):
    """``KAN(X) = (Φ_1 ∘ Φ_0) X`` (eq. 13) as a bottleneck d → r → d."""

    def __init__(self, width: int, config: NetworkConfig) -> None:
        super().__init__()
        layer = LinearKANLayer if config.kan_basis == "linear" else CubicKANLayer
        self.down = layer(width, config.kan_rank, config)
        self.up = layer(config.kan_rank, width, config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = self.up(self.down(x))
        return out
