"""What reading a file gives: a header's claims, and pixels as stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BAND = 1 << 20
"""Samples worked on at a time, so that no step needs a second image's memory."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image file claim.

    Attributes:
        kind: ``"JPEG"``, ``"PNG"``, ``"BMP"`` or ``"TIFF"``.
        width: pixels, before any rotation.
        height: pixels, before any rotation.
        orientation: EXIF orientation, 1 (upright) to 8.
    """

    kind: str
    width: int
    height: int
    orientation: int


@dataclass(frozen=True)
class Stored:
    """The pixels of a file.

    Attributes:
        pixels: (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA with straight alpha; uint8 or
            uint16 as stored; often a view.
        notes: what the pixels do not show: ``"palette"``, ``"12 bit"``, and which page.
    """

    pixels: NDArray[Any]
    notes: tuple[str, ...] = ()


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (TIFF 6.0, tag 274); returns a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def look_up(table: NDArray[Any], indices: NDArray[Any]) -> NDArray[Any]:
    """Return ``table[indices]`` of (H, W) or (H, W, C) indices, made in bands."""
    result = np.empty((*indices.shape, *table.shape[1:]), table.dtype)
    step = max(1, BAND // max(1, indices[:1].size))
    for top in range(0, len(indices), step):
        np.take(table, indices[top : top + step], axis=0, out=result[top : top + step])
    return result
