"""Straight-through twins of `qlvit_edge.integer`: what training sees of the integers.

Each function rounds in the forward pass exactly as the integer specification does and
lets the gradient through as if it had not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig

_RANGE_DECAY = 1e-3
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny
# Makes `torch.round`, ties to even, round ties away from zero. A quotient of two float32 is a tie
# of at most 9 bits or differs from it by 2^-33 of its value; doubles are good for 2^-52.
_TIES_AWAY = 1 + 2.0**-45
CODE_BITS = 4


def round_ties_away(x: Tensor) -> Tensor:
    """Round to the nearest integer, ties away from zero, as TFLite does."""
    return torch.trunc(x + torch.copysign(torch.full_like(x, 0.5), x))


def straight_through(rounded: Tensor, x: Tensor) -> Tensor:
    """Return ``rounded`` in the forward pass with the gradient of ``x``."""
    return x + (rounded - x).detach()


def log2_softmax(x: Tensor, dim: int, bits: int = CODE_BITS) -> Tensor:
    """Softmax whose values are the powers of two that eq. 6 encodes.

    The code is ``2^b - 1 - round(log2(sum / exp))``, clipped to ``[0, 2^b - 1]``; its
    value is ``2^-(2^b - 1 - code)``. Rounding in the exponent has its threshold at √2.

    Args:
        x: logits of any shape.
        dim: the axis that is normalised.
        bits: b of eq. 6.

    Returns:
        Tensor of the same shape; sums along ``dim`` lie in about (0.7, 1.42).
    """
    log_probability = torch.log_softmax(x, dim)
    exponent = torch.floor(log_probability.detach() / math.log(2.0) + 0.5)
    coded = torch.exp2(exponent.clamp(min=1 - 2**bits))
    return straight_through(coded, log_probability.exp())


class UniformQuantiser(nn.Module):
    """The uniform activation quantiser of eq. 14-18 with corrected zero point.

    In training the range is that of the batch (eq. 16, 17: ``l = min(X)``, ``μ = max(X)``,
    widened to hold zero) and the buffers `low` and `high` hold its peaks, decaying slowly:
    rare large values carry classes and must not be clipped. In evaluation the buffers are
    the range. They are part of the state dict, so they survive a checkpoint, and the
    converter uses them for this tensor.

    Attributes:
        enabled: whether values are rounded; if not, only the range is kept.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int, enabled: bool = True) -> None:
        super().__init__()
        self.levels = 2**bits - 1
        self.enabled = enabled
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def batch_range(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the range of a batch of any shape, widened to hold zero."""
        low, high = torch.aminmax(x.detach())
        # The range is kept in float32 whatever the activations are in.
        return low.float().clamp(max=0.0), high.float().clamp(min=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (any shape) rounded to the grid, gradient straight through."""
        if self.training:
            low, high = self.batch_range(x)
            self.low.copy_(torch.minimum(low, torch.lerp(self.low, low, _RANGE_DECAY)))
            self.high.copy_(torch.maximum(high, torch.lerp(self.high, high, _RANGE_DECAY)))
        else:
            low, high = self.low, self.high
        if not self.enabled:
            return x
        # In double, with the scale as float32: on a tie the last bit of a quotient decides.
        low, high = low.double(), high.double()
        scale = ((high - low) / self.levels).float().double()
        scale = torch.where(scale >= _SMALLEST_SCALE, scale, torch.ones_like(scale))
        zero_point = round_ties_away(-low / scale).clamp(0, self.levels)
        steps = x.detach().double() * (_TIES_AWAY / scale)
        steps.round_().clamp_(-zero_point, self.levels - zero_point)
        return straight_through(steps.mul_(scale).to(x.dtype), x)


class QAct(nn.Module):
    """Qact: Hardswish followed by the uniform activation quantiser (section 3.2).

    Before V2 the quantiser only watches: the converter takes the range from it all the same.
    Hardswish stands in every variant, MViTv2's MLP (GELU there) included: so no step of the
    ablation changes two things, and the device has an operation for it.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.quantiser = UniformQuantiser(config.activation_bits, config.parts.quantised)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to a tensor of any shape."""
        out: Tensor = self.quantiser(nn.functional.hardswish(x))
        return out


def quantised_weight(weight: Tensor) -> Tensor:
    """Round a weight to symmetric int8 with one scale per output channel (axis 0).

    Args:
        weight: (O, ...) float.

    Returns:
        Tensor of the same shape on the grid ``scale[o] · {-127 … 127}``; the gradient
        goes straight through. A channel of zeros stays zero.
    """
    peak = weight.detach().abs().flatten(1).amax(1)
    scale = torch.where(peak > 0, peak / 127.0, torch.ones_like(peak))
    scale = scale.reshape(-1, *([1] * (weight.dim() - 1)))
    return straight_through(round_ties_away(weight.detach() / scale) * scale, weight)
