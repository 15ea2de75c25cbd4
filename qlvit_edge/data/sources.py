"""Drawing whole sources (photographs, patients), so that no two sides share one.

A source may hold images of several classes: it is drawn once, for all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

Stratum = TypeVar("Stratum", int, tuple[int, str])
"""What shares are counted of: a class, or a class of one microscope."""


def draw_sources(
    counts: Mapping[str, Counter[Stratum]], share: float, seed: int, held: Collection[str] = ()
) -> set[str]:
    """Draw sources until about ``share`` of every class's images (of every microscope) is drawn.

    Sources are taken in random order; each is drawn if that brings the classes' shares
    closer to ``share`` (sum of squared differences). A class of which nothing was drawn then
    gets the source that costs least. No class is drawn as a whole, so a class of one source
    stays where it is, and what shares a source with it too.

    Args:
        counts: source → images by class, or by class and microscope.
        share: of each class's images, between 0 and 1.
        seed: any integer; the same seed and names give the same draw.
        held: sources that are drawn in any case; of what they hold nothing more is drawn, unless
            it comes with what lacks.
    """
    total: Counter[Stratum] = Counter()
    for own in counts.values():
        total.update(own)
    labels = sorted(total)
    chosen: set[str] = set(held) & set(counts)
    drawn: Counter[Stratum] = Counter()
    for source in chosen:
        drawn.update(counts[source])
    settled = set(drawn)

    def cost(extra: Mapping[Stratum, int]) -> float:
        shares = ((drawn[label] + extra.get(label, 0)) / total[label] for label in labels)
        return sum((found - share) ** 2 for found in shares)

    def leaves_some(extra: Mapping[Stratum, int]) -> bool:
        return all(drawn[label] + own < total[label] for label, own in extra.items() if own)

    order = sorted(set(counts) - chosen, key=lambda source: draw_key(seed, source))
    for source in order:
        if (
            settled.isdisjoint(counts[source])
            and cost(counts[source]) < cost({})
            and leaves_some(counts[source])
        ):
            chosen.add(source)
            drawn.update(counts[source])
    for label in labels:
        if drawn[label]:
            continue
        fitting = [s for s in order if counts[s][label] and leaves_some(counts[s])]
        if fitting:
            best = min(fitting, key=lambda source: cost(counts[source]))
            chosen.add(best)
            drawn.update(counts[best])
    return chosen


def draw_key(seed: int, name: str) -> bytes:
    """Return what names are ordered by to draw them: no version of Python changes it."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
