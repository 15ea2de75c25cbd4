"""What changes from step to step: learning rate, temperature τ and the moving average.

The learning rate runs in cycles. A run has one, over all its epochs: warm-up, then a cosine to
zero. Epochs that are added to a finished run are a cycle of their own, a warm restart
(Loshchilov and Hutter, "SGDR", ICLR 2017): from `RESTART_SHARE` of the peak, since the network is
trained, in a cosine to zero, and τ stays at 1. So a run that was extended does not depend on when
that was decided, and what was trained before is what it would have been.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qlvit_edge.model.dynamic_conv import TEMPERATURE_START
from qlvit_edge.training.settings import AVERAGE_DECAY, WARM_UP

ANNEALED_AFTER = 0.2
RESTART_SHARE = 0.5
_COPIED = ("temperature", "quantiser.low", "quantiser.high")


def learning_rate(peak: float, progress: float, warm_up: float = WARM_UP) -> float:
    """One cycle: linear warm-up, then a cosine to zero; ``progress`` runs from 0 to 1."""
    if progress < warm_up:
        return peak * (0.05 + 0.95 * progress / warm_up)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def restarted_rate(peak: float, progress: float) -> float:
    """Every later cycle: from half the peak in a cosine to zero; ``progress`` from 0 to 1."""
    return peak * RESTART_SHARE * 0.5 * (1 + math.cos(math.pi * progress))


def temperature(progress: float) -> float:
    """τ of eq. 5: from 30 down to 1 in the first fifth of training, linearly."""
    return max(1.0, TEMPERATURE_START + (1.0 - TEMPERATURE_START) * progress / ANNEALED_AFTER)


class MovingAverage:
    """Exponential moving average of weights *and* BatchNorm statistics.

    Without the statistics, evaluation accuracy jumps from epoch to epoch until the rate
    has decayed. τ and the quantisers' ranges are copied, not averaged (an average of peaks
    would clip); so are integers.
    """

    def __init__(self, average: nn.Module, decay: float = AVERAGE_DECAY) -> None:
        """Average into ``average``, a copy of the network that is trained; ``decay`` per step."""
        self.decay = decay
        self.average = average.eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards ``network``; early steps weigh more, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        source = network.state_dict()
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        for name, tensor in self.average.state_dict().items():
            if tensor.is_floating_point() and not name.endswith(_COPIED):
                averaged.append(tensor)
                current.append(source[name])
            else:
                tensor.copy_(source[name])
        torch._foreach_lerp_(averaged, current, 1 - decay)
