"""Which training images are held out to choose the best epoch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.sources import draw_sources
from qlvit_edge.data.split import Split


def hold_out(
    images: Sequence[LabelledImage], split: Split, fraction: float, seed: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split training images into those trained on and those held out for validation.

    Where sources are known, whole ones are held out, with the images of all their classes:
    otherwise the validation figure would be that of photographs (or patients) the network has
    seen. About ``fraction`` of each class of each microscope is held out; each keeps at least
    one image (or source) on the training side, and has one held out if it has two: see
    `draw_sources`.

    Returns:
        (training images, validation images).
    """
    if fraction == 0:
        return list(images), []

    def source_of(image: LabelledImage) -> str:
        return split.groups[image.relative] if split.grouped else image.source or image.relative

    counts: defaultdict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
    for image in images:
        counts[source_of(image)][image.label, image.domain] += 1
    held = draw_sources(counts, fraction, seed)
    return (
        [image for image in images if source_of(image) not in held],
        [image for image in images if source_of(image) in held],
    )


def with_source(image: LabelledImage, split: Split) -> LabelledImage:
    """Return an image with the source that the split knows, where its data name none."""
    if image.source or not split.grouped:
        return image
    return replace(image, source=split.groups[image.relative])
