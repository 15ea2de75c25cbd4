"""Asks a bundled model about labelled images: one row per image and view, for `cards.py`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge import Classifier, bundled
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.split import Split, select
from qlvit_edge.data.training_images import read_training_images, trained_on
from qlvit_edge.evaluation.answers import View, model_picture
from qlvit_edge.preprocess import decode
from qlvit_edge.text import folded

AML_CLASSES: Mapping[str, str] = {
    "neutrophil-band": "neutrophil",
    "promyelocyte": "immature granulocyte",
    "myelocyte": "immature granulocyte",
    "metamyelocyte": "immature granulocyte",
}
"""Folders of AML-Cytomorphology_LMU → the class of such cells in PBC (Acevedo et al. 2020)."""

RED_CELL, PER_FIELD = "1", 1
NOISE_IMAGES = 100


@dataclass(frozen=True)
class Row:
    """One answer.

    Attributes:
        kind: what the image shows: its class folder, or a word such as "red cell".
        truth: the model's class that this is; None where the model knows none.
        source: photograph, slide or patient, else the image itself.
        label, probability, verdict: the answer; empty and 0 where the finder found no cell.
    """

    kind: str
    truth: str | None
    source: str
    label: str = ""
    probability: float = 0.0
    verdict: str = ""

    @property
    def right(self) -> bool:
        """Whether the answer is the truth."""
        return self.label == self.truth

    @property
    def accepted(self) -> bool:
        """Whether the answer was accepted."""
        return self.verdict == "accepted"


def answered(classifier: Classifier, row: Row, picture: NDArray[np.uint8] | None) -> Row:
    """Complete a row with the answer to a picture; None: no cell was found in it."""
    if picture is None:
        return row
    answer = classifier.classify(picture)
    return replace(row, label=answer.label, probability=answer.probability, verdict=answer.verdict)


def ask(
    classifier: Classifier,
    images: Iterable[tuple[LabelledImage, Row]],
    views: Sequence[View] = tuple(View),
) -> dict[View, list[Row]]:
    """Show every image whole and as the finder's crop, or in some of these views."""
    rows: dict[View, list[Row]] = {view: [] for view in views}
    for image, row in images:
        pixels = decode(image.path)
        for view in views:
            rows[view].append(answered(classifier, row, model_picture(pixels, view)))
    return rows


def known_class(kind: str, labels: Iterable[str], names: Mapping[str, str]) -> str | None:
    """Return the model's class of a folder, by `names`, or by its own name."""
    return {folded(label): label for label in labels}.get(folded(names.get(kind, kind)))


def held_out(
    folder: ImageFolder, split: Split, labels: Iterable[str], model: str
) -> dict[str, list[tuple[LabelledImage, Row]]]:
    """Return the test side by microscope: that of the image, or what its source begins with.

    Left out is what the model or any bundled one was trained on: some began from the weights of
    another.
    """
    found: dict[str, list[tuple[LabelledImage, Row]]] = {}
    side = select(folder, split.test)
    names = {*bundled.names(), model}
    lists = [read_training_images(bundled.folder_of(name)) for name in sorted(names)]
    seen = {name for known in lists if known for name in trained_on(side, known, lambda: None)}
    for image in side:
        if image.relative in seen:
            continue
        kind = folder.classes[image.label]
        source = image.source or split.groups.get(image.relative, "")
        domain = image.domain or source.rpartition("/")[0].partition("/")[0]
        row = Row(kind, known_class(kind, labels, {}), source or image.relative)
        found.setdefault(domain, []).append((image, row))
    return found


def strangers(
    folder: ImageFolder, labels: Iterable[str], names: Mapping[str, str] = AML_CLASSES
) -> list[tuple[LabelledImage, Row]]:
    """Return all images of a set that nothing was trained on; every image is its own source."""
    named = [(image, folder.classes[image.label]) for image in folder.images]
    return [
        (image, Row(kind, known_class(kind, labels, names), image.relative))
        for image, kind in named
    ]


def red_cells(fields: Path) -> Iterator[NDArray[np.uint8]]:
    """Cut single red cells out of annotated fields (`images`, `labels` with rows of YOLO)."""
    for label in sorted((fields / "labels").glob("*.txt")):
        with label.open(encoding="ascii", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=" ") if row and row[0] == RED_CELL]
        picture = decode(fields / "images" / f"{label.stem}.jpg")
        height, width, _ = picture.shape
        for _, *box in rows[:PER_FIELD]:
            x, y, w, h = (float(value) for value in box[:4])
            side = 0.7 * max(w * width, h * height)  # half of the box plus 40 %, as around cells
            left, right = round(max(x * width - side, 0)), round(min(x * width + side, width))
            top, bottom = round(max(y * height - side, 0)), round(min(y * height + side, height))
            yield picture[top:bottom, left:right]


def noise() -> Iterator[NDArray[np.uint8]]:
    """Pictures of uniform noise."""
    generator = np.random.default_rng(0)
    for _ in range(NOISE_IMAGES):
        yield generator.integers(0, 256, (160, 160, 3), dtype=np.uint8)
