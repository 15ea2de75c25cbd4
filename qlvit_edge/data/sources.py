"""Drawing whole sources (photographs, patients), so that no two sides share one.

A source may hold images of several classes: it is drawn once, for all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping


def draw_sources(counts: Mapping[str, Counter[int]], share: float, seed: int) -> set[str]:
    """Draw sources until about ``share`` of every class's images is drawn.

    Sources are taken in random order; each is drawn if that brings the classes' shares
    closer to ``share`` (sum of squared differences). A class of which nothing was drawn then
    gets the source that costs least. No class is drawn as a whole, so a class of one source
    stays where it is, and what shares a source with it too.

    Args:
        counts: source → images by label.
        share: of each class's images, between 0 and 1.
        seed: any integer; the same seed and names give the same draw.
    """
    total: Counter[int] = sum(counts.values(), Counter())
    labels = sorted(total)
    chosen: set[str] = set()
    drawn: Counter[int] = Counter()

    def cost(extra: Mapping[int, int]) -> float:
        shares = ((drawn[label] + extra[label]) / total[label] for label in labels)
        return sum((found - share) ** 2 for found in shares)

    def leaves_some(extra: Mapping[int, int]) -> bool:
        return all(drawn[label] + extra[label] < total[label] for label in labels)

    order = sorted(counts, key=lambda source: draw_key(seed, source))
    for source in order:
        if cost(counts[source]) < cost(Counter()) and leaves_some(counts[source]):
            chosen.add(source)
            drawn += counts[source]
    for label in labels:
        if drawn[label]:
            continue
        fitting = [s for s in order if counts[s][label] and leaves_some(counts[s])]
        if fitting:
            best = min(fitting, key=lambda source: cost(counts[source]))
            chosen.add(best)
            drawn += counts[best]
    return chosen


def draw_key(seed: int, name: str) -> bytes:
    """Return what names are ordered by to draw them: no version of Python changes it."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
