"""Dynamic convolution, eq. 1-5 (Chen et al. 2020), depthwise 3×3."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from qlvit_edge.model.family import SoftmaxForm
from qlvit_edge.model.quantisers import log2_softmax

TEMPERATURE_START = 30.0


def softmax(x: Tensor, dim: int, form: SoftmaxForm) -> Tensor:
    """Take the softmax of ``x`` along ``dim`` in float or in the log2 codes of eq. 6."""
    return log2_softmax(x, dim) if form == "log2" else torch.softmax(x, dim)


class DynamicConv(nn.Module):
    """``Σ_k π_k(x) (W_k * x + b_k)`` with attention π over K depthwise 3×3 kernels.

    ``Σ_k π_k (W_k * x) = (Σ_k π_k W_k) * x``: training mixes the kernels per image
    (eq. 2, 3), the device runs K convolutions with constant weights and mixes their maps.

    Attributes:
        weight: (K, C, 3, 3), the kernels W_k.
        bias: (K, C), the biases b_k.
        temperature: τ of eq. 5, a buffer, so that annealing survives a checkpoint.
    """

    temperature: Tensor

    def __init__(self, channels: int, kernels: int, softmax_form: SoftmaxForm) -> None:
        super().__init__()
        self.softmax_form: SoftmaxForm = softmax_form
        self.weight = nn.Parameter(torch.empty(kernels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(kernels, channels))
        nn.init.uniform_(self.weight, -math.sqrt(1 / 3), math.sqrt(1 / 3))
        self.squeeze = nn.Linear(channels, max(channels // 4, 1))
        self.excite = nn.Linear(max(channels // 4, 1), kernels)
        self.register_buffer("temperature", torch.tensor(TEMPERATURE_START))

    def attention(self, pooled: Tensor) -> Tensor:
        """Return π (B, K) of eq. 5 for the globally averaged map (B, C).

        In float32 also under autocast: a code of π that tips over halves or doubles a kernel.
        """
        with _full_precision(pooled.device):
            z = self.excite(torch.relu(self.squeeze(pooled.float())))
            return softmax(z / self.temperature, 1, self.softmax_form)

    def forward(self, padded: Tensor) -> Tensor:
        """Map a padded (B, C, H+2, W+2) tensor to (B, C, H, W)."""
        batch, channels, height, width = padded.shape
        pi = self.attention(padded[:, :, 1:-1, 1:-1].mean((2, 3)))
        weight = torch.einsum("bk,kcij->bcij", pi, self.weight)
        bias = pi @ self.bias
        mixed = nn.functional.conv2d(
            padded.reshape(1, batch * channels, height, width),
            weight.reshape(batch * channels, 1, 3, 3),
            bias.reshape(-1),
            groups=batch * channels,
        )
        return mixed.reshape(batch, channels, height - 2, width - 2)


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return autocast switched off; the meta device, on which networks are counted, has none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def set_temperature(network: nn.Module, temperature: float) -> None:
    """Set τ of every dynamic convolution in ``network``."""
    for module in network.modules():
        if isinstance(module, DynamicConv):
            module.temperature.fill_(temperature)
