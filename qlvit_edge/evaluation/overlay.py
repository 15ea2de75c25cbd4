"""A map of positions laid over the image that it was made of.

A network halves its map with kernels of odd sides that are centred on every second position, so
position i of a map of n lies over the pixel i · (side / n) of the input, not over the middle of an
n-th part of it. An image of other sides was squashed to the input: the map is stretched like it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.palette import HEAT, rgb
from qlvit_edge.preprocess import resize

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

CARD_SIDE = 320
"""Of a picture on a page, in pixels."""

MOST_SIDE = 1024
"""Of an overlay, in pixels; larger images are shown smaller."""

_COVER = 0.6
_CONTOUR = 0.5
_SMALLEST_SIDE = 192


@dataclass(frozen=True)
class Heat:
    """A map scaled for showing.

    Attributes:
        values: (H, W), 0 for the least and 1 for the most of the map; all 0 of an even one.
        low: what 0 stands for, in the map's unit.
        high: what 1 stands for.
    """

    values: Array
    low: float
    high: float


def spread(positions: Array, size: tuple[int, int], input_size: tuple[int, int]) -> Array:
    """Return a map at the size of the image that was squashed to the network's input.

    It goes smoothly from one position's centre to the next. Beyond the outermost centre it fades
    within the same distance: nothing there is any position's own.

    Args:
        positions: (h, w).
        size: (height, width) of the image.
        input_size: (height, width) of the network's input.
    """
    rows, columns = (
        _weights(side, count, fed)
        for side, count, fed in zip(size, positions.shape, input_size, strict=True)
    )
    return np.asarray(rows @ positions @ columns.T)


def _weights(side: int, count: int, fed: int) -> Array:
    """How much each of the positions counts at each pixel, (side, count)."""
    if count == 1:  # it says nothing of where along this side
        return np.ones((side, 1))
    pixels = (np.arange(side) + 0.5) * fed / side  # in pixels of the input, from its edge
    places = (pixels - 0.5) * count / fed
    away = np.minimum(np.abs(places[:, np.newaxis] - np.arange(count)), 1.0)
    return np.asarray(np.cos(0.5 * np.pi * away) ** 2)


def heat(
    positions: Array,
    size: tuple[int, int],
    input_size: tuple[int, int],
    *,
    noise: float = 0.0,
) -> Heat:
    """Scale a map from its least to its most, and bring it to the size of an image.

    Args:
        positions: (h, w).
        size: (height, width) of the image.
        input_size: (height, width) of the network's input.
        noise: a map that differs by no more is even.
    """
    low, high = float(positions.min()), float(positions.max())
    if not high - low > noise:
        return Heat(np.zeros(size), low, high)
    return Heat(spread((positions - low) / (high - low), size, input_size), low, high)


def shown_size(image: Pixels) -> tuple[int, int]:
    """Return (height, width) at which an image is shown: neither tiny nor huge, same shape."""
    height, width = image.shape[:2]
    factor = min(MOST_SIDE / max(height, width), max(1.0, _SMALLEST_SIDE / max(height, width)))
    return max(1, round(height * factor)), max(1, round(width * factor))


def overlay(
    image: Pixels, positions: Array, input_size: tuple[int, int], noise: float = 0.0
) -> Pixels:
    """Lay a map over an image: colour where there is much, the image where there is little.

    A line in black and white runs where half of the most is reached.

    Args:
        image: (H, W, 3) uint8 RGB.
        positions: (h, w).
        input_size: (height, width) of the network's input.
        noise: see `heat`.

    Returns:
        (H', W', 3) uint8 RGB, of the size `shown_size`.
    """
    picture = resize(image, shown_size(image))
    values = heat(positions, (picture.shape[0], picture.shape[1]), input_size, noise=noise).values
    cover = _COVER * values[..., np.newaxis]
    mixed = (1 - cover) * picture + cover * _colours(values)
    drawn: Pixels = np.ascontiguousarray(np.rint(mixed).astype(np.uint8))
    inside = (values >= _CONTOUR).astype(np.uint8)
    lines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.drawContours(drawn, lines, -1, colour, width)
    return drawn


def _colours(values: Array) -> Array:
    """The colours of values 0 to 1, (…, 3), 0 to 255."""
    stops = np.linspace(0, 1, len(HEAT))
    table = np.array([rgb(text) for text in HEAT], np.float64)
    return np.stack([np.interp(values, stops, table[:, part]) for part in range(3)], -1)


def side_by_side(pictures: list[Pixels], gap: int = 8) -> Pixels:
    """Join pictures of one height from left to right, white between them."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, white)][:-1]
    return np.asarray(np.concatenate(parts, 1), np.uint8)


def smaller(picture: Pixels) -> Pixels:
    """Return (H, W, 3) uint8 with at most `CARD_SIDE` pixels on its longer side."""
    height, width = picture.shape[:2]
    factor = min(1.0, CARD_SIDE / max(height, width))
    return resize(picture, (max(1, round(height * factor)), max(1, round(width * factor))))


def jpeg(picture: Pixels) -> bytes:
    """Return (H, W, 3) uint8 RGB as a JPEG file, for a page."""
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return bytes(content)


def png(picture: Pixels) -> bytes:
    """Return (H, W, 3) uint8 RGB as a PNG file."""
    _, content = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
    return bytes(content)
