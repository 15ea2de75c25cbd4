"""How far a file's logits are from PyTorch's, and how far they may be.

The network rounds (4-bit codes, 8-bit activations), so two correct computations whose last
bits differ now and then fall on two sides of a threshold, and that image's logits move
visibly. A wrong file is another matter: it is off on every image. Hence two bounds, in units
of the spread (standard deviation) of PyTorch's logits: a narrow one for the median image, a
wide one for the worst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.text import counted

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class Bound:
    """What a correct file keeps.

    Attributes:
        median: largest difference of the median image, in standard deviations of the logits.
        worst: largest difference of any image, in standard deviations of the logits.
        agreement: least share of images with the same class; one image may always differ,
            since one that PyTorch itself hardly decides can fall to either side.
        budgeted: whether the accuracy budget holds too: files that round to 8 bits.
    """

    median: float
    worst: float
    agreement: float
    budgeted: bool = False


FLOAT32 = Bound(median=0.005, worst=0.5, agreement=0.98)
"""The same arithmetic in another order."""
FLOAT16 = Bound(median=0.1, worst=1.0, agreement=0.95)
"""Weights rounded to 11 bits: more values cross a threshold."""
QUANTISED = Bound(median=0.5, worst=3.0, agreement=0.9, budgeted=True)
"""Weights or activations in 8 bits: still this network's answers, not its logits."""
NATIVE = Bound(median=math.inf, worst=math.inf, agreement=0.0, budgeted=True)
"""Our own integer file, which is proved at every tensor: the accuracy budget alone."""


@dataclass(frozen=True)
class Closeness:
    """A file's logits against PyTorch's on the same images.

    Attributes:
        images: images compared.
        median: see `Bound`; NaN if a logit is not finite.
        worst: see `Bound`; NaN if a logit is not finite.
        agreement: share of images with the same class.
    """

    images: int
    median: float
    worst: float
    agreement: float

    def within(self, bound: Bound) -> bool:
        """Tell whether the bound is kept; NaN never is."""
        differing = round((1 - self.agreement) * self.images)
        return (
            self.median <= bound.median
            and self.worst <= bound.worst
            and differing <= max(1, int((1 - bound.agreement) * self.images + 1e-9))
        )

    @property
    def words(self) -> str:
        """The figures in one phrase."""
        return (
            f"off by {self.median:.2g} standard deviations of the logits on the median of "
            f"{counted(self.images, 'image')}, {self.worst:.2g} on the worst, "
            f"{self.agreement:.1%} same class"
        )


def compare_logits(expected: Logits, found: Logits) -> Closeness:
    """Compare logits (N, classes) with PyTorch's ``expected``."""
    if not np.isfinite(found).all():
        return Closeness(len(found), float("nan"), float("nan"), 0.0)
    spread = float(expected.std()) or 1.0
    largest = np.abs(found - expected).max(1) / spread
    same = expected.argmax(1) == found.argmax(1)
    return Closeness(
        len(found), float(np.median(largest)), float(largest.max()), float(same.mean())
    )
