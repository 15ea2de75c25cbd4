"""The labelled microscopes of `unseen_microscope.py`: their images under common classes.

Three folders as their authors publish them:

* ``wbc-kaggle``: `paultimothymooney/blood-cells` on Kaggle, augmented copies of about 250
  photographs, with ``source_map.csv`` (class, file, source, confident) as `source_map.py` makes it;
* ``pbc``: Acevedo et al. 2020, Mendeley Data, doi:10.17632/snkd93bnjr.1, CellaVision DM96;
* ``aml``: Matek et al. 2019, AML-Cytomorphology_LMU, Precipoint M8; one folder per class.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.sources import draw_key, draw_sources
from qlvit_edge.data.split import Split, fingerprint
from qlvit_edge.imagefolder import kind_of

CLASSES = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "immature granulocyte",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)
TRAINABLE = ("wbc-kaggle", "pbc")
SCORED_ONLY = ("aml",)
HELD_OUT = 1 / 6
"""Share of a training microscope's sources that is scored; the same in every training."""

_OTHER_NAMES = {
    "ig": "immature granulocyte",
    "metamyelocyte": "immature granulocyte",
    "myelocyte": "immature granulocyte",
    "promyelocyte": "immature granulocyte",
    "promyelocyte-bilobed": "immature granulocyte",
    "neutrophil-band": "neutrophil",
}
UNKNOWN = -1
"""Label of cells that are of no class: blasts, smudges, atypical lymphocytes."""


@dataclass(frozen=True)
class Microscope:
    """Labelled images of one microscope.

    Attributes:
        name: of its folder.
        images: with labels in `CLASSES`, or `UNKNOWN`.
    """

    name: str
    images: tuple[LabelledImage, ...]

    @property
    def classes(self) -> set[str]:
        """Names of its classes."""
        return {CLASSES[image.label] for image in self.images if image.label != UNKNOWN}


def read(data: Path, name: str) -> Microscope:
    """List a microscope's images; those whose source is not known for sure are left out."""
    sources = _sources(data / name / "source_map.csv")
    images = []
    for folder in sorted(entry for entry in (data / name).iterdir() if entry.is_dir()):
        called = _OTHER_NAMES.get(folder.name.lower(), folder.name.lower())
        label = CLASSES.index(called) if called in CLASSES else UNKNOWN
        for file in sorted(folder.iterdir()):
            own = f"{folder.name}/{file.name}"
            if kind_of(file) is not None or (sources and own not in sources):
                continue
            relative = f"{called}/{name}-{folder.name}-{file.name}"
            source = f"{name}/{sources.get(own, own)}"
            images.append(LabelledImage(file, relative, label, name, source))
    if not images:
        raise SystemExit(f"{data / name} holds no images")
    return Microscope(name, tuple(images))


def _sources(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["confident"] not in ("0", "False")]
    return {f"{row['class']}/{row['file']}": row["source"] for row in rows}


def sides(microscope: Microscope) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return a microscope's images to train on and its held-out ones; no source is on both."""
    counts: dict[str, Counter[int]] = {}
    known = [image for image in microscope.images if image.label != UNKNOWN]
    for image in known:
        counts.setdefault(image.source, Counter())[image.label] += 1
    held = draw_sources(counts, HELD_OUT, seed=0)
    return (
        [image for image in known if image.source not in held],
        [image for image in known if image.source in held],
    )


def fewer(images: Iterable[LabelledImage], most: int) -> list[LabelledImage]:
    """Return at most ``most`` images of each class (0: all), from as many sources as there are."""
    by_label: dict[int, list[LabelledImage]] = {}
    for image in images:
        by_label.setdefault(image.label, []).append(image)
    kept: list[LabelledImage] = []
    for label in sorted(by_label):
        copies: Counter[str] = Counter()
        ranked = []
        for image in sorted(by_label[label], key=lambda one: draw_key(0, one.relative)):
            ranked.append((copies[image.source], image))
            copies[image.source] += 1
        ranked.sort(key=lambda pair: pair[0])  # the first copy of every source, then the second
        kept += [image for _, image in ranked[: most or None]]
    return kept


def training_set(
    root: Path, training: Sequence[LabelledImage], held_out: Sequence[LabelledImage]
) -> tuple[ImageFolder, Split]:
    """Return what `train` takes: a folder of all images, with the classes that are trained."""
    names = tuple(sorted({CLASSES[image.label] for image in training}))
    every = [
        replace(image, label=names.index(CLASSES[image.label]))
        for image in (*training, *held_out)
        if CLASSES[image.label] in names
    ]
    kept = {image.relative: image.source for image in every}
    train = sorted(image.relative for image in training)
    test = sorted(image.relative for image in held_out if image.relative in kept)
    split = Split(
        seed=0,
        test_fraction=HELD_OUT,
        classes=list(names),
        train=train,
        test=test,
        grouped=True,
        groups=kept,
        fingerprint=fingerprint(train, test, []),
    )
    return ImageFolder(root, names, tuple(every)), split
