"""The stem: one large-kernel convolution that turns pixels into tokens (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Stem(nn.Module):
    """Pad the raw image, normalise it, then a valid large-kernel convolution and BatchNorm.

    Padding comes *before* the normalisation, in training as on the device: the mean and
    standard deviation then fold exactly into the convolution.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.padding = kernel // 2
        self.convolution = nn.Conv2d(3, width, kernel, stride, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.register_buffer("mean", 255.0 * torch.tensor(IMAGE_MEAN).reshape(3, 1, 1))
        self.register_buffer("std", 255.0 * torch.tensor(IMAGE_STD).reshape(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) values 0…255 to (B, C, H/stride, W/stride)."""
        padded = nn.functional.pad(image, (self.padding,) * 4)
        out: Tensor = self.norm(self.convolution((padded - self.mean) / self.std))
        return out
