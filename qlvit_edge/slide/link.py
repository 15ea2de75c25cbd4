"""Whether, and by how much, one view lies beside another: two findings that must agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qlvit_edge.slide.constellation import support, vote
from qlvit_edge.slide.correlation import Spectra, correlate

LEAST_HEIGHT = 0.5
"""Correlation coefficient from which two views show the same."""

LEAST_LEAD = 0.08
"""By how much the coefficient at the best shift must exceed that at any other."""

LEAST_PAIRS = 3
"""Pairs of bodies that make a shift more than chance, and ..."""

LEAST_SHARE = 0.4
"""... their share of those that could be."""

AGREE = 2.0
"""Small pixels by which the two findings may differ."""


@dataclass(frozen=True)
class Link:
    """A measured translation between two views.

    Attributes:
        x: small pixels by which the second view lies to the right of the first.
        y: small pixels by which it lies below.
        height: the correlation coefficient there.
        pairs: pairs of bodies that agree.
    """

    x: float
    y: float
    height: float
    pairs: int


def link(first: Spectra, second: Spectra) -> Link | None:
    """Return how two views lie to each other; None where that is not sure.

    The correlation and the bodies each look for the best of all shifts; only where they find the
    same, and both clearly, it is taken.
    """
    one, two = first.view, second.view
    if one.stain.shape != two.stain.shape or one.size != two.size or one.blank or two.blank:
        return None
    shape = (one.stain.shape[0], one.stain.shape[1])
    voted = vote(one.bodies, two.bodies, shape)
    if voted is None or voted.pairs < LEAST_PAIRS or voted.share < LEAST_SHARE:
        return None
    peak = correlate(first, second)
    if peak is None or peak.height < LEAST_HEIGHT or peak.lead < LEAST_LEAD:
        return None
    if math.hypot(peak.x - voted.x, peak.y - voted.y) > AGREE:
        return None
    pairs, expected = support(one.bodies, two.bodies, peak.x, peak.y, shape)
    if pairs < LEAST_PAIRS or pairs < LEAST_SHARE * expected:
        return None
    return Link(peak.x, peak.y, peak.height, pairs)
