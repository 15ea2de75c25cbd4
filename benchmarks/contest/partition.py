"""Sources divided into folds: every image is tested once, by a network that knows no copy of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from qlvit_edge.data.labelled import LabelledImage
from qlvit_edge.data.sources import draw_key
from qlvit_edge.errors import DataError


def folds(images: Sequence[LabelledImage], count: int, seed: int) -> list[list[LabelledImage]]:
    """Divide images into folds that share no source and hold about as much of every class.

    Sources are taken from the largest to the smallest, equals in the order of a hash of seed and
    name; each goes to the fold where its classes are rarest so far.

    Args:
        images: each with its source.
        count: of folds, at least 2.
        seed: any integer; the same seed and names give the same folds.

    Raises:
        DataError: a class comes from fewer sources than there are folds.
    """
    own: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for image in images:
        own[image.source][image.label] += 1
    owners = Counter(label for labels in own.values() for label in labels)
    totals = Counter(image.label for image in images)
    for label, sources in sorted(owners.items()):
        if sources < count:
            raise DataError(
                next(image.relative for image in images if image.label == label),
                f"its class comes from {sources} sources, too few for {count} folds",
                "ask for fewer folds",
            )
    held: list[Counter[int]] = [Counter() for _ in range(count)]
    place: dict[str, int] = {}

    def weight(fold: int, source: str) -> tuple[float, int]:
        share = sum(
            number * held[fold][label] / totals[label] ** 2 for label, number in own[source].items()
        )
        return share, held[fold].total()

    for source in sorted(own, key=lambda name: (-own[name].total(), draw_key(seed, name))):
        chosen = min(range(count), key=lambda fold: weight(fold, source))
        place[source] = chosen
        held[chosen].update(own[source])
    return [[image for image in images if place[image.source] == fold] for fold in range(count)]
