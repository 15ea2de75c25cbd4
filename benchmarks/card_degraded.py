"""Answers to degraded copies of held-out cells, for `cards.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from card_rows import Row, answered

from qlvit_edge import Classifier
from qlvit_edge.calibration.degradations import DEGRADATIONS
from qlvit_edge.data.choose import evenly
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.preprocess import decode

STRENGTHS: Mapping[str, float] = {
    "defocus": 2.5,
    "noise": 15,
    "less light": 0.6,
    "more light": 1.35,
    "redder light": 0.3,
    "bluer light": 0.3,
    "weaker stain": 0.5,
    "stronger stain": 1.8,
}
"""Of each degradation the strength that a card shows."""

WITHOUT_COLOUR = ("defocus", "noise", "less light", "more light")
"""What can befall a grey image."""

IMAGES = 200
UNCHANGED = "as they are"


def degraded(
    classifier: Classifier,
    images: Sequence[tuple[LabelledImage, Row]],
    names: Collection[str] = STRENGTHS,
) -> dict[str, list[Row]]:
    """Return rows of evenly chosen images, as they are and by degradation, shown whole."""
    ways = {way.name: way for way in DEGRADATIONS if way.name in names}
    words = {n: f"{n}, {STRENGTHS[n]:g} {way.unit}" for n, way in ways.items()}
    found: dict[str, list[Row]] = {UNCHANGED: [], **{said: [] for said in words.values()}}
    for index in evenly(len(images), IMAGES):
        image, row = images[index]
        pixels = decode(image.path)
        found[UNCHANGED].append(answered(classifier, row, pixels))
        for name, way in ways.items():
            copy = way.apply(pixels, STRENGTHS[name])
            found[words[name]].append(answered(classifier, row, copy))
    return found
