"""The translation between two views by masked normalised cross-correlation.

D. Padfield, Masked Object Registration in the Fourier Domain, IEEE Trans. Image Processing 21(5),
2012: for every shift the correlation coefficient of what the two have in common, also where a mask
or the border leaves a part of it. Phase correlation, the usual choice, is wrong on smears: the
spectrum of smooth blobs is flat noise but for a few low frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from qlvit_edge.slide.view import Plane, View, parabola

LEAST_OVERLAP = 0.2
"""Share of the picture that two views must have in common at a shift that is considered."""

FULL_WORTH = 0.5
"""Share of the picture from which a coefficient counts in full; less that overlaps is more easily
alike by chance, so it counts by the root of that."""

NEIGHBOURHOOD = 8
"""Small pixels around a peak that belong to it; the best elsewhere is its rival."""


@dataclass(frozen=True)
class Peak:
    """The shift at which two views are most alike.

    Attributes:
        x: small pixels by which the second view lies to the right of the first.
        y: small pixels by which it lies below.
        height: correlation coefficient there, -1 to 1.
        lead: by how much it exceeds the best anywhere else, both weighted by what overlaps.
    """

    x: float
    y: float
    height: float
    lead: float


class Spectra:
    """A view, its square and its mask in the Fourier domain: what a correlation takes of it."""

    def __init__(self, view: View) -> None:
        """Keep the view; it is transformed when first needed."""
        self.view = view

    @cached_property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """The packed spectra (OpenCV's CCS form) of stain, squared stain and mask."""
        height, width = self.view.stain.shape
        size = cv2.getOptimalDFTSize(2 * width), cv2.getOptimalDFTSize(2 * height)

        def spectrum(plane: Plane) -> Plane:
            padded = np.zeros((size[1], size[0]), np.float32)
            padded[:height, :width] = plane
            return np.asarray(cv2.dft(padded, nonzeroRows=height), np.float32)

        stain = self.view.stain
        return spectrum(stain), spectrum(stain * stain), spectrum(self.view.lit)


def correlate(first: Spectra, second: Spectra, least_overlap: float = LEAST_OVERLAP) -> Peak | None:
    """Return the best shift between two views; None where nothing overlaps enough.

    Args:
        first: of one view.
        second: of another of the same shape.
        least_overlap: share of the picture that must be in common.
    """
    height, width = first.view.stain.shape
    one, one_squared, one_lit = first.planes
    two, two_squared, two_lit = second.planes

    def product(left: Plane, right: Plane) -> Plane:
        both = cv2.mulSpectrums(left, right, 0, conjB=True)
        return np.asarray(cv2.idft(both, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT), np.float32)

    overlap = np.rint(product(one_lit, two_lit))
    enough = overlap >= max(least_overlap * height * width, 16)
    if not enough.any():
        return None
    count = np.maximum(overlap, 1)
    sum_one, sum_two = product(one, two_lit), product(one_lit, two)
    shared = product(one, two) - sum_one * sum_two / count
    spread_one = np.maximum(product(one_squared, two_lit) - sum_one**2 / count, 0)
    spread_two = np.maximum(product(one_lit, two_squared) - sum_two**2 / count, 0)
    bottom = np.sqrt(spread_one * spread_two)
    # Where one of them is flat in the overlap, nothing is alike.
    sound = enough & (bottom > 1e-3 * float(bottom.max()) + 1e-9)
    likeness = np.where(sound, shared / np.where(sound, bottom, 1), -1).astype(np.float32)
    worth = likeness * np.sqrt(np.minimum(overlap / (FULL_WORTH * height * width), 1))
    # Shifts to the left and upwards stand at the far end: put the shift 0 in the middle.
    likeness, worth = (
        np.roll(plane, (height - 1, width - 1), (0, 1))[: 2 * height - 1, : 2 * width - 1]
        for plane in (likeness, worth)
    )
    return _peak(likeness, worth, height, width)


def _peak(likeness: Plane, worth: Plane, height: int, width: int) -> Peak | None:
    row, column = (int(place) for place in np.unravel_index(worth.argmax(), worth.shape))
    best = float(likeness[row, column])
    if best <= 0:
        return None
    if 0 < row < likeness.shape[0] - 1 and 0 < column < likeness.shape[1] - 1:
        across, down = likeness[row, column - 1 : column + 2], likeness[row - 1 : row + 2, column]
        x, y = column + float(parabola(*across)), row + float(parabola(*down))
    else:
        x, y = float(column), float(row)
    rest = worth.copy()
    rest[
        max(0, row - NEIGHBOURHOOD) : row + NEIGHBOURHOOD + 1,
        max(0, column - NEIGHBOURHOOD) : column + NEIGHBOURHOOD + 1,
    ] = -1
    return Peak(x - (width - 1), y - (height - 1), best, float(worth[row, column] - rest.max()))
