"""The stem: one large-kernel convolution that turns pixels into tokens (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Stem(nn.Module):
    """Pad the raw image, normalise it, then a valid large-kernel convolution and BatchNorm.

    Padding comes *before* the normalisation, in training as on the device: the mean and
    standard deviation then fold exactly into the convolution. The stem keeps its BatchNorm in
    networks of either norm: after a convolution it folds away. A grey image is normalised by
    the means over the three colours.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.padding = kernel // 2
        self.convolution = nn.Conv2d(channels, width, kernel, stride, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.register_buffer("mean", _colours(IMAGE_MEAN, channels))
        self.register_buffer("std", _colours(IMAGE_STD, channels))

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, channels, H, W) values 0…255 to (B, C, H/stride, W/stride)."""
        padded = nn.functional.pad(image, (self.padding,) * 4)
        out: Tensor = self.norm(self.convolution((padded - self.mean) / self.std))
        return out


def _colours(values: tuple[float, float, float], channels: int) -> Tensor:
    """Return constants of 0…1 images for 0…255 ones, (channels, 1, 1)."""
    chosen = 255.0 * torch.tensor(values)
    return (chosen if channels == 3 else chosen.mean(0, keepdim=True)).reshape(-1, 1, 1)
