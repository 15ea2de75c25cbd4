"""Whether images that are measured look like copies of one another, though nobody said so.

Copies of one photograph stand or fall together: an interval over images is then too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.names import hint
from qlvit_edge.preprocess import resize
from qlvit_edge.text import counted

SIDE = 8
"""Of a thumbnail, in pixels."""

_SAME = 2.0
"""Root mean square difference in levels below which thumbnails show one picture."""

_MOST = 2000
_LEAST_SHARE = 0.05


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) as (8, 8, 3), uint8."""
    return resize(pixels, (SIDE, SIDE))


def suspected_copies(
    folder: ImageFolder, images: Sequence[LabelledImage], thumbnails: Sequence[NDArray[np.uint8]]
) -> str | None:
    """Say what suggests that several images are copies of one photograph; None if nothing does.

    Names are looked at, and thumbnails, also turned by quarters and mirrored: of more than 2,000
    images of 2,000, evenly. Turned by other angles or cut out elsewhere, a copy is not noticed.

    Args:
        folder: where the images are.
        images: those that were measured.
        thumbnails: of each, (8, 8, 3) uint8.
    """
    named = hint(replace(folder, images=tuple(images)))
    if named is not None:
        return (
            f"names suggest {named.groups:,} sources ({named.example[0]} and {named.example[1]} "
            "of one)"
        )
    copies = _count_copies(thumbnails)
    looked_at = min(len(thumbnails), _MOST)
    if copies >= max(2.0, _LEAST_SHARE * looked_at):
        return f"{copies:,} of {counted(looked_at, 'image')} looked at show what another one shows"
    return None


def _count_copies(thumbnails: Sequence[NDArray[np.uint8]]) -> int:
    """Return how many of the thumbnails show what another one shows, turned or mirrored."""
    step = -(-len(thumbnails) // _MOST)
    stack = np.array(thumbnails[:: step or 1], np.float32).reshape(-1, SIDE, SIDE, 3)
    # A plain picture resembles every other plain one.
    stack = stack[stack.reshape(len(stack), -1).std(axis=1) > 2 * _SAME]
    if not len(stack):
        return 0
    own = stack.reshape(len(stack), -1)
    squares = (own**2).sum(axis=1)
    found = np.zeros(len(stack), bool)
    for mirrored in (stack, stack[:, :, ::-1]):
        for quarters in range(4):
            other = np.rot90(mirrored, quarters, axes=(1, 2)).reshape(len(stack), -1)
            distance = squares[:, None] + squares[None] - 2 * own @ other.T
            np.fill_diagonal(distance, np.inf)
            found |= (distance < _SAME**2 * own.shape[1]).any(axis=1)
    return int(found.sum())
