"""The paper's augmentation on whole batches of tensors, on the device that trains.

Rotation by up to ±15° that keeps the size, then one operation of an automatic policy with a
strength drawn for each image (TrivialAugment, Müller and Hutter, ICCV 2021, without solarize,
which inverts a stain, and without equalize), and mirroring. Every image has its own operation; the
batch goes through all kinds at once: what moves pixels is one affine map, what mixes colours one
matrix, what changes values one table of 256 entries. Between these, values are whole numbers as in
an image file, and every sum is exact: an image's view does not depend on the batch it is in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qlvit_edge.data.augment import ROTATION_DEGREES
from qlvit_edge.data.chance import Drawn
from qlvit_edge.data.optics import hue, saturation

Operation = Literal[
    "identity",
    "shear across",
    "shear down",
    "move across",
    "move down",
    "sharpness",
    "brightness",
    "contrast",
    "posterise",
    "automatic contrast",
    "saturation",
    "hue",
]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)
"""Of the automatic policy; grey images have all but the last two."""

_OF_COLOUR: Final = 2
_MOVING: Final = 5
"""The first ones leave colours and values alone."""

SHEAR: Final = 0.3
MOVE: Final = 0.2
"""Of the side."""
FACTOR: Final = 0.6
"""Brightness, contrast, sharpness and saturation become up to this much stronger or weaker."""
HUE_DEGREES: Final = 36.0
POSTERISED_BITS: Final = 4

_PURPOSE: Final = 1


@dataclass(frozen=True)
class Variation:
    """How the images of a batch are varied.

    Attributes:
        matrix: (B, 2, 3) from the view to the image, both in units of half their sides.
        operations: (B,) indices into `OPERATIONS`.
        strengths: (B,) in [-1, 1).
    """

    matrix: NDArray[np.float64]
    operations: NDArray[np.int64]
    strengths: NDArray[np.float64]


def drawn_variation(drawn: Drawn, channels: int, *, vary_look: bool = True) -> Variation:
    """Draw how each image of a batch is varied.

    Args:
        drawn: the batch.
        channels: of the images; grey ones have no colours to vary.
        vary_look: draw from all operations, not only from those that move pixels.
    """
    angle, mirrored, turned_over, which, strength = drawn.uniform(_PURPOSE, 5).T
    offered = len(OPERATIONS) - (0 if channels == 3 else _OF_COLOUR)
    operations = (which * (offered if vary_look else _MOVING)).astype(np.int64)
    strengths = 2 * strength - 1

    def of(name: Operation) -> NDArray[np.float64]:
        return np.where(operations == OPERATIONS.index(name), strengths, 0.0)

    turn = np.radians(ROTATION_DEGREES * (2 * angle - 1))
    flip = np.stack([np.where(mirrored < 0.5, 1.0, -1.0), np.where(turned_over < 0.5, 1.0, -1.0)])
    matrix = np.empty((len(angle), 2, 3))
    cosine, sine = np.cos(turn), np.sin(turn)
    across, down = SHEAR * of("shear across"), SHEAR * of("shear down")
    # mirror · rotation · shear
    matrix[:, 0, 0] = flip[0] * (cosine - sine * down)
    matrix[:, 0, 1] = flip[0] * (cosine * across - sine)
    matrix[:, 1, 0] = flip[1] * (sine + cosine * down)
    matrix[:, 1, 1] = flip[1] * (sine * across + cosine)
    matrix[:, 0, 2] = 2 * MOVE * of("move across")
    matrix[:, 1, 2] = 2 * MOVE * of("move down")
    return Variation(matrix, operations, strengths)


def vary(images: Tensor, variation: Variation, size: tuple[int, int]) -> Tensor:
    """Return the views (B, C, height, width) float32 of images, whole numbers from 0 to 255.

    Args:
        images: (B, C, H, W) of 0…255, whole images of any size; C is 1 or 3.
        variation: how each is varied.
        size: (height, width) of the views.
    """
    views = _moved(images.float(), variation.matrix, size)
    views = _recoloured(views, variation)
    views = _sharpened(views, variation)
    return _through_tables(views, variation)


def _moved(images: Tensor, matrix: NDArray[np.float64], size: tuple[int, int]) -> Tensor:
    """Sample the images where each pixel of the views lies in them; beyond, they are mirrored."""
    height, width = size
    device = images.device
    x = ((torch.arange(width, device=device) * 2 + 1) / width - 1)[None, None, :]
    y = ((torch.arange(height, device=device) * 2 + 1) / height - 1)[None, :, None]
    m = torch.from_numpy(matrix).float().to(device)[..., None, None]
    # A turn is one of pixels: in units of half sides, x and y of an oblong view differ.
    ratio = width / height
    grid = torch.stack(
        [
            m[:, 0, 0] * x + m[:, 0, 1] / ratio * y + m[:, 0, 2],
            m[:, 1, 0] * ratio * x + m[:, 1, 1] * y + m[:, 1, 2],
        ],
        3,
    )
    moved = nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return _whole(moved)


def _recoloured(views: Tensor, variation: Variation) -> Tensor:
    """Turn and stretch the colours of the views that drew it."""
    chosen, matrices = [], []
    for name in ("saturation", "hue"):
        for index in np.flatnonzero(variation.operations == OPERATIONS.index(name)).tolist():
            amount = float(variation.strengths[index])
            chosen.append(index)
            matrices.append(
                saturation(FACTOR * amount)
                if name == "saturation"
                else hue(math.radians(HUE_DEGREES * amount))
            )
    if not chosen:
        return views
    where = torch.tensor(chosen, device=views.device)
    m = torch.tensor(np.array(matrices), device=views.device)[..., None, None]
    red, green, blue = views[where].double().unbind(1)
    mixed = [red * m[:, row, 0] + green * m[:, row, 1] + blue * m[:, row, 2] for row in range(3)]
    return views.index_copy(0, where, _whole(torch.stack(mixed, 1)).float())


def _sharpened(views: Tensor, variation: Variation) -> Tensor:
    """Move the views that drew it away from, or towards, the mean of each pixel's 3×3."""
    chosen = np.flatnonzero(variation.operations == OPERATIONS.index("sharpness"))
    if not len(chosen):
        return views
    where = torch.from_numpy(chosen).to(views.device)
    picked = views[where].double()
    height, width = picked.shape[2:]
    framed = nn.functional.pad(picked, (1, 1, 1, 1), "reflect")
    summed = torch.zeros_like(picked)
    for row in range(3):
        for column in range(3):
            summed += framed[:, :, row : row + height, column : column + width]
    amount = torch.from_numpy(FACTOR * variation.strengths[chosen]).to(views.device)
    sharp = picked + amount[:, None, None, None] * (picked - summed / 9)
    return views.index_copy(0, where, _whole(sharp).float())


def _through_tables(views: Tensor, variation: Variation) -> Tensor:
    """Change the values of the views that drew it, each channel through its own table."""
    names: tuple[Operation, ...] = ("brightness", "contrast", "posterise", "automatic contrast")
    numbers = [OPERATIONS.index(name) for name in names]
    chosen = np.flatnonzero(np.isin(variation.operations, numbers))
    if not len(chosen):
        return views
    where = torch.from_numpy(chosen).to(views.device)
    picked = views[where]
    flat = picked.flatten(2).long()
    amount = torch.from_numpy(variation.strengths[chosen]).to(views.device)[:, None, None]
    levels = torch.arange(256, device=views.device, dtype=torch.float64)
    mean = flat.sum((1, 2), keepdim=True).double() / flat[0].numel()
    low, high = (of(flat, 2, keepdim=True).double() for of in (torch.amin, torch.amax))
    step = torch.exp2(torch.round(amount.abs() * POSTERISED_BITS))
    tables = [
        (1 + FACTOR * amount) * levels,
        mean + (1 + FACTOR * amount) * (levels - mean),
        torch.floor(levels / step) * step,
        (levels - low) * (255 / (high - low).clamp(min=1)),
    ]
    operations = torch.from_numpy(variation.operations[chosen]).to(views.device)[:, None, None]
    table = levels.expand(len(chosen), picked.shape[1], 256)
    for number, values in zip(numbers, tables, strict=True):
        table = torch.where(operations == number, values, table)
    changed = torch.gather(_whole(table).float(), 2, flat).reshape(picked.shape)
    return views.index_copy(0, where, changed)


def _whole(values: Tensor) -> Tensor:
    return torch.floor(values + 0.5).clamp(0, 255)
