"""Layers whose statistics are those of the whole batch, where several processes share it.

Every layer that looks at more than one image is here: BatchNorm, and the ranges of the uniform
quantisers. (torch's own SyncBatchNorm computes on CUDA devices only.) The layers keep their
parameters, buffers and names; a state dict does not tell how many processes wrote it.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.presence import present


class Exchange(Protocol):
    """What the layers need of the processes.

    Attributes:
        is_idle: this process has no image of the batch and calls the network only for the
            exchanges in it: what it computes must count nowhere.
    """

    is_idle: bool

    def rows(self, row: Tensor) -> Tensor:
        """Return the vectors (n,) of all processes as (processes, n)."""

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""

    def largest(self, values: Tensor) -> Tensor:
        """Return the elementwise maximum of a tensor over all processes."""


def synchronise(network: nn.Module, exchange: Exchange) -> None:
    """Let all layers of a network that look at a batch see the whole one, in training."""
    for module in network.modules():
        # Only the forward pass changes: weights, buffers, hooks and name stay the layer's own.
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = SynchronisedBatchNorm
        elif type(module) is UniformQuantiser:
            module.__class__ = SynchronisedQuantiser
        else:
            continue
        object.__setattr__(module, "exchange", exchange)


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the images of all processes; (B, C) or (B, C, H, W)."""

    exchange: Exchange

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of axes from two on."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in training by the moments of the whole batch."""
        if not self.training:
            return super().forward(x)
        mean, variance, count = _moments(x.detach(), self.exchange)
        momentum = present(self.momentum, "a momentum")
        present(self.num_batches_tracked, "the number of batches").add_(1)
        present(self.running_mean, "the running mean").lerp_(mean, momentum)
        unbiased = variance * (count / (count - 1))
        present(self.running_var, "the running variance").lerp_(unbiased, momentum)
        out: Tensor = _Normalised.apply(  # type: ignore[no-untyped-call]
            *(x, self.weight, self.bias, mean, variance, count, self.eps, self.exchange)
        )
        return out


class SynchronisedQuantiser(UniformQuantiser):
    """The uniform quantiser with the range of the whole batch."""

    exchange: Exchange

    def batch_range(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `UniformQuantiser`; a range always holds zero, so zero adds nothing to it."""
        low, high = super().batch_range(x)
        ends = torch.stack((-low, high))
        ends = self.exchange.largest(_counted(ends, self.exchange))
        return -ends[0], ends[1]


def _moments(x: Tensor, exchange: Exchange) -> tuple[Tensor, Tensor, float]:
    """Return mean (C,), variance (C,) and number of the values per channel of the whole batch.

    The processes' own moments are joined as Chan, Golub and LeVeque (1979) do: sums of squares
    would cancel.
    """
    channels = x.shape[1]
    axes = _all_but_channels(x)
    count = x.numel() // channels
    variance, mean = torch.var_mean(_wide(x), axes, correction=0)
    row = torch.cat((mean, variance * count, mean.new_tensor([count])))
    rows = exchange.rows(_counted(row.double(), exchange))
    means, squares, counts = rows[:, :channels], rows[:, channels:-1], rows[:, -1:]
    total = counts.sum()
    joint = (counts * means).sum(0) / total
    squares = squares.sum(0) + (counts * (means - joint) ** 2).sum(0)
    return joint.to(mean.dtype), (squares / total).to(mean.dtype), float(total)


class _Normalised(torch.autograd.Function):
    """``weight · (x - mean) / sqrt(variance + ε) + bias``, where the moments depend on every x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: float,
        epsilon: float,
        exchange: Exchange,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + epsilon))
        ctx.count, ctx.exchange, ctx.is_idle = count, exchange, exchange.is_idle
        return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=epsilon)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate as Ioffe and Szegedy (2015), with the sums of all processes."""
        x, weight, mean, inverse = ctx.saved_tensors
        shape = (1, -1, *([1] * (x.dim() - 2)))
        axes = _all_but_channels(x)
        of_out = _wide(gradients[0])
        standard = (_wide(x) - mean.reshape(shape)) * inverse.reshape(shape)
        own = torch.stack((of_out.sum(axes), (of_out * standard).sum(axes)))
        of_bias, of_weight = ctx.exchange.summed(own) / ctx.count
        of_x = of_out - of_bias.reshape(shape) - standard * of_weight.reshape(shape)
        of_x = of_x * (weight * inverse).reshape(shape)
        if ctx.is_idle:  # its x are in no moment
            of_x = torch.zeros_like(of_x)
        return of_x.to(x.dtype), own[1], own[0], None, None, None, None, None


def _counted(values: Tensor, exchange: Exchange) -> Tensor:
    return torch.zeros_like(values) if exchange.is_idle else values


def _wide(x: Tensor) -> Tensor:
    """At least float32: halves have too few digits for moments."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _all_but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]
