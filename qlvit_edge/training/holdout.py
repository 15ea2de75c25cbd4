"""Which training images are held out to choose the best epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.split import Split


def hold_out(
    images: Sequence[LabelledImage], split: Split, fraction: float, seed: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split training images into those trained on and those held out for validation.

    In a source-disjoint split whole sources are held out, otherwise the validation figure
    would be that of photographs the network has seen. Each class keeps at least one image
    (or source) on the training side.

    Returns:
        (training images, validation images).
    """
    if fraction == 0:
        return list(images), []
    rng = np.random.default_rng(seed)
    by_class: dict[int, dict[str, list[LabelledImage]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        source = split.groups[image.relative] if split.grouped else image.relative
        by_class[image.label][source].append(image)
    held: set[str] = set()
    for label in sorted(by_class):
        sources = sorted(by_class[label])
        wanted = fraction * sum(len(group) for group in by_class[label].values())
        taken = 0
        for index in rng.permutation(len(sources))[:-1]:
            if taken >= wanted:
                break
            group = by_class[label][sources[index]]
            held.update(image.relative for image in group)
            taken += len(group)
    return (
        [image for image in images if image.relative not in held],
        [image for image in images if image.relative in held],
    )
