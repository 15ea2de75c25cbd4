"""Optical density of a field, and how much more like a nucleus than like a red cell it is.

Everything here is relative to the field itself: densities to its own background, stains to
its own red cells. So the lamp's colour and strength cancel, and so does a gamma, which
multiplies every density by the same number. What a nucleus is *not* is decided first: red
cells are the commonest stained thing in a smear, pale, and lose more blue light for the red
and green that they lose than azure B does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.ranks import median, percentile

Map = NDArray[np.float32]
"""(H, W) or (H, W, 3) float32."""

BACKGROUND_SHARE = 0.94
"""The background is as bright as this share of the lit pixels at most, channel by channel."""

DARKEST_LIT = 0.15
"""Pixels below this share of the frame's brightness have no light: corners, a vignette's rim."""

LEAST_DENSITY = 0.03
"""Red, green and blue density (log10, summed) below which nothing is told from background."""

LEAST_RED = 0.07
"""Least red and green density of red cells: paler ones are uneven light, or overexposed."""

CLIPPED_SHARES = (0.60, 0.75, 0.85, 0.93)
"""Shares of the pixels at which the densities are clipped in search of the best division."""

DIVIDED = 0.7
"""Least separation (0 to 1) of two things; the best division of noise is at 0.64."""

AS_GOOD = 0.05
"""By so much less separation, a division that clips less is taken: uneven light divides too."""

BLUE_WEIGHT = 0.55
"""Weight of blue against red and green density, each in units of a red cell; from fields."""

LEAST_BLUE = 0.2
"""Least blue density of red cells for their red and green: below it is noise, or a nucleus."""


NUCLEI_TO_RED = 0.4
"""Red and green density of red cells by that of nuclei in the usual field."""


@dataclass(frozen=True)
class RedStain:
    """What red cells look like in a field, in optical density (log10).

    Attributes:
        red_green: median density of red and green together.
        blue: median density of blue, at least `LEAST_BLUE` of ``red_green``.
        limit: density of the three channels together from which a pixel is stained.
        middle: the index of the median red cell pixel.
        spread: from the lowest twentieth of the red cells' index to its median.
        colour: median densities of red, green and blue.
        doubtful: they absorb so little blue that they may be nuclei, with no red cell near.
    """

    red_green: float
    blue: float
    limit: float
    middle: float
    spread: float
    doubtful: bool
    colour: tuple[float, float, float]

    def of_nuclei(self) -> RedStain:
        """Return usual red cells beside nuclei that look like this, where there are no others."""
        red_green = NUCLEI_TO_RED * self.red_green
        middle = 1 - BLUE_WEIGHT
        return replace(
            self,
            red_green=red_green,
            blue=0.3 * red_green,
            middle=middle,
            spread=0.0,
            colour=(0.0, red_green / 2, red_green / 2),
        )

    def turned(self, density: Map) -> float:
        """Return by how many degrees the colour of a stain is turned from that of red cells.

        A thicker layer of the same stain has the same colour: two red cells on one another are
        as dark as a nucleus, but not turned.

        Args:
            density: (N, 3) densities of the stain's pixels.
        """
        colour, red = _medians(density), np.array(self.colour)
        lengths = float(np.linalg.norm(colour) * np.linalg.norm(red))
        if lengths < 1e-6:
            return 0.0
        return float(np.degrees(np.arccos(np.clip(colour @ red / lengths, -1, 1))))

    def excess(self, density: Map) -> Map:
        """Return how much more like a nucleus than a red cell each pixel is.

        Args:
            density: (..., 3) densities of red, green and blue.

        Returns:
            (...) float32 in units of a red cell's red and green density: 0 for red cells, below
            it for background, above about 0.6 for nuclei.
        """
        red_green = density[..., 0] + density[..., 1]
        red_green *= np.float32(1 / self.red_green)
        red_green -= density[..., 2] * np.float32(BLUE_WEIGHT / self.blue)
        red_green -= np.float32(self.middle)
        return red_green


def optical_density(image: NDArray[np.uint8]) -> Map:
    """Return the densities of a field, relative to its own background.

    Pixels without light (black corners of a rotated or vignetted image) have density 0.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 3) float32, log10 of background over light, 0 to 2.
    """
    light = np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8)
    brightest = np.asarray(cv2.max(cv2.max(light[..., 0], light[..., 1]), light[..., 2]), np.uint8)
    dark = brightest <= DARKEST_LIT * _level(brightest, None, BACKGROUND_SHARE)
    lit = None if not dark.any() else np.asarray(~dark, np.uint8)
    levels = np.arange(256, dtype=np.float64)
    table = np.zeros((1, 256, 3), np.float32)
    for channel in range(3):
        background = max(8.0, _level(light[..., channel], lit, BACKGROUND_SHARE))
        table[0, :, channel] = -np.log10(np.clip(levels / background, 0.01, 1.0))
    density = np.asarray(cv2.LUT(light, table), np.float32)
    if lit is not None:
        rim = cv2.dilate(np.asarray(dark, np.uint8), np.ones((5, 5), np.uint8))
        density[rim > 0] = 0.0
    return density


def red_stain(density: Map) -> RedStain | None:
    """Return what a field's red cells look like; None where nothing is stained.

    Args:
        density: (H, W, 3), see `optical_density`.
    """
    pixels = density[::2, ::2].reshape(-1, 3)
    red_green = pixels[:, 0] + pixels[:, 1]
    total = red_green + pixels[:, 2]
    limit = stained_from(total)
    stained = total > (0.0 if limit is None else limit)
    if limit is None or np.count_nonzero(stained) < 30:
        return None
    red_green, blue = red_green[stained], pixels[stained, 2]
    # Nuclei are darker than red cells: start among the paler ones, then leave nuclei out.
    usual, usual_blue = percentile(red_green, 35), median(blue)
    index = kept = np.empty(0)
    for _ in range(4):
        usual = max(usual, LEAST_RED)
        usual_blue = max(usual_blue, LEAST_BLUE * usual)
        index = red_green / usual - BLUE_WEIGHT * blue / usual_blue
        kept = (index < 0.8) & (red_green < 2 * usual)
        if np.count_nonzero(kept) < 30:
            return None
        usual, usual_blue = median(red_green[kept]), median(blue[kept])
    usual = max(usual, LEAST_RED)
    doubtful = usual_blue < 1.1 * LEAST_BLUE * usual
    usual_blue = max(usual_blue, LEAST_BLUE * usual)
    red, green, blue_too = (float(value) for value in _medians(pixels[stained][kept]))
    index = red_green[kept] / usual - BLUE_WEIGHT * blue[kept] / usual_blue
    low, middle = percentile(index, 5), percentile(index, 50)
    return RedStain(
        usual, usual_blue, limit, middle, middle - low, doubtful, (red, green, blue_too)
    )


def _medians(density: Map) -> NDArray[np.float32]:
    """The medians of (N, 3) densities, channel by channel."""
    return np.array([median(density[:, channel]) for channel in range(3)], np.float32)


def stained_from(total: Map) -> float | None:
    """Return the density that divides background from stained pixels best.

    Otsu's criterion, on densities clipped at several shares: unclipped, a large nucleus would
    be divided from all the rest. None where there is nothing to divide.

    Args:
        total: densities of the three channels together, any shape.
    """
    top = percentile(total.ravel()[::5], 99.5)
    if top < LEAST_DENSITY:
        return None
    bins = 200
    places = np.minimum((total.ravel() * (bins / top)).astype(np.int32), bins - 1)
    histogram = np.bincount(places, minlength=bins) / places.size
    reached = np.cumsum(histogram)
    best, limit = -1.0, 0.0
    for share in (*CLIPPED_SHARES, 1.0):
        if share == 1.0 and best >= DIVIDED:
            break
        count = bins if share == 1.0 else int(np.searchsorted(reached, share)) + 1
        if count < 8:
            continue
        clipped = histogram[:count].copy()
        clipped[-1] += 1 - reached[count - 1]
        separation, place = _division(clipped)
        if separation > best - AS_GOOD:
            best, limit = max(best, separation), (place + 1) * top / bins
    return max(limit, LEAST_DENSITY) if best >= 0 else None


def _division(histogram: NDArray[np.float64]) -> tuple[float, int]:
    """Otsu's best division: variance between its parts over all of it, the last bin below."""
    bins = np.arange(histogram.size)
    below = np.cumsum(histogram)[:-1]
    moment = np.cumsum(histogram * bins)
    mean = moment[-1]
    between = (mean * below - moment[:-1]) ** 2 / np.maximum(below * (1 - below), 1e-9)
    variance = float((histogram * (bins - mean) ** 2).sum())
    place = int(between.argmax())
    return float(between[place]) / max(variance, 1e-9), place


def _level(channel: NDArray[np.uint8], mask: NDArray[np.uint8] | None, share: float) -> float:
    """The brightness that a share of the (masked) pixels does not exceed."""
    counts = cv2.calcHist([channel], [0], mask, [256], [0, 256]).ravel()
    reached = np.cumsum(counts)
    return float(np.searchsorted(reached, share * reached[-1]))
