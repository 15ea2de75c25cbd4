"""The labelled microscopes of `unseen_microscope.py`: their images under common classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qlvit_edge.data.labelled import NO_CLASS, ImageFolder, LabelledImage
from qlvit_edge.data.merge import choose
from qlvit_edge.data.sets import read_sets
from qlvit_edge.data.sources import draw_key, draw_sources
from qlvit_edge.data.split import Split, fingerprint

HELD_OUT = 1 / 6
"""Share of a training microscope's sources that is scored; the same in every training."""


@dataclass(frozen=True)
class Microscope:
    """Labelled images of one microscope.

    Attributes:
        name: its domain.
        images: with labels among the common classes, or `NO_CLASS` (blasts, smudges).
    """

    name: str
    images: tuple[LabelledImage, ...]


def read(files: Sequence[Path], root: Path) -> tuple[tuple[str, ...], list[list[Microscope]]]:
    """Read folders as `qlvit-edge data merge` does.

    Args:
        files: TOML files of folders.
        root: where their paths begin.

    Returns:
        The classes of all, and the microscopes of each file.
    """
    plans = [read_sets(file) for file in files]
    classes = tuple(sorted({name for plan in plans for name in plan.classes}))
    found = []
    for plan in plans:
        by_domain: defaultdict[str, list[LabelledImage]] = defaultdict(list)
        for entry in choose(plan, root)[0]:
            image, name = entry.image, entry.name.partition("/")[0]
            label = NO_CLASS if image.label == NO_CLASS else classes.index(name)
            own = replace(
                image, relative=entry.name, label=label, source=image.source or entry.name
            )
            by_domain[image.domain].append(own)
        found.append([Microscope(name, tuple(images)) for name, images in by_domain.items()])
    return classes, found


def sides(microscope: Microscope) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return a microscope's images to train on and its held-out ones; no source is on both."""
    known = [image for image in microscope.images if image.label != NO_CLASS]
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for image in known:
        counts[image.source][image.label] += 1
    named = {image.source for image in known if image.held}
    held = draw_sources(counts, HELD_OUT, seed=0, held=named)
    return (
        [image for image in known if image.source not in held],
        [image for image in known if image.source in held],
    )


def fewer(images: Iterable[LabelledImage], most: int) -> list[LabelledImage]:
    """Return at most ``most`` images of each kind (0: all), from as many sources as there are."""
    by_kind: defaultdict[tuple[int, str], list[LabelledImage]] = defaultdict(list)
    for image in images:
        by_kind[image.label, image.domain].append(image)
    kept: list[LabelledImage] = []
    for kind in sorted(by_kind):
        copies: Counter[str] = Counter()
        ranked = []
        for image in sorted(by_kind[kind], key=lambda one: draw_key(0, one.relative)):
            ranked.append((copies[image.source], image))
            copies[image.source] += 1
        ranked.sort(key=lambda pair: pair[0])  # the first copy of every source, then the second
        kept += [image for _, image in ranked[: most or None]]
    return kept


def training_set(
    root: Path,
    classes: Sequence[str],
    training: Sequence[LabelledImage],
    held_out: Sequence[LabelledImage],
) -> tuple[ImageFolder, Split]:
    """Return what `train` takes: a folder of all images, with the classes that are trained."""
    names = tuple(sorted({classes[image.label] for image in training}))
    every = [
        replace(image, label=names.index(classes[image.label]))
        for image in (*training, *held_out)
        if classes[image.label] in names
    ]
    sources = {image.relative: image.source for image in every}
    train = sorted(image.relative for image in training)
    test = sorted(sources.keys() - set(train))
    split = Split(
        seed=0,
        test_fraction=HELD_OUT,
        classes=list(names),
        train=train,
        test=test,
        grouped=True,
        groups=sources,
        fingerprint=fingerprint(train, test, []),
    )
    return ImageFolder(root, names, tuple(every)), split
