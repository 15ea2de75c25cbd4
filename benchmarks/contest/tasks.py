"""What the networks of a contest learn and are asked: images in memory, once for all of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from unseen import microscopes

from qlvit_edge.choices import Augment, Balance
from qlvit_edge.data.labelled import NO_CLASS, ImageFolder, LabelledImage
from qlvit_edge.data.loader import CachedImage, View, cache_images, cell_view, whole_view
from qlvit_edge.data.sources import draw_key
from qlvit_edge.data.split import Split, require_fit, select
from qlvit_edge.preprocess import decode

SETS = Path(__file__).parents[1] / "sets"
TRAINED, ONLY_SCORED = SETS / "blood.toml", SETS / "aml.toml"


CALIBRATED = 48
"""Images that integer files are calibrated with."""


@dataclass(frozen=True)
class Questions:
    """Images that a trained network is asked.

    Attributes:
        names: of the N images.
        views: (N, side, side, 3) uint8.
        labels: (N,) right outputs.
        sources: photograph, slide or patient of each; its own name where nobody said.
    """

    names: Sequence[str]
    views: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sources: Sequence[str]


@dataclass(frozen=True)
class Task:
    """What a network learns, and what it is asked.

    Attributes:
        name: of the task.
        classes: of the outputs.
        side: of the square input, in pixels.
        images: that it learns.
        balance: how they are drawn.
        augment: how they are varied.
        questions: by what they test.
        fingerprint: of the names of all images.
        calibration: training images for the ranges of integer files.
    """

    name: str
    classes: Sequence[str]
    side: int
    images: Sequence[LabelledImage]
    balance: Balance
    augment: Augment
    questions: Mapping[str, Questions]
    fingerprint: str
    calibration: Sequence[LabelledImage]

    @cached_property
    def training(self) -> list[CachedImage]:
        """The images that it learns, decoded when they are first needed."""
        return cache_images(self.images, (self.side, self.side), lambda: None, [])


def fewer(images: Sequence[LabelledImage], most: int) -> list[LabelledImage]:
    """Return at most ``most`` images of each class (0: all), drawn by name."""
    by_label: defaultdict[int, list[LabelledImage]] = defaultdict(list)
    for image in sorted(images, key=lambda one: draw_key(0, one.relative)):
        by_label[image.label].append(image)
    return [image for label in sorted(by_label) for image in by_label[label][: most or None]]


def ask(images: Sequence[LabelledImage], side: int, view: View = whole_view) -> Questions:
    """Decode images and look at them as the network will."""

    def one(image: LabelledImage) -> NDArray[np.uint8]:
        return view(decode(image.path), (side, side), 3)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        views = np.stack(list(pool.map(one, images)))
    return Questions(
        [image.relative for image in images],
        views,
        np.array([image.label for image in images]),
        [image.source or image.relative for image in images],
    )


def of_split(
    name: str, folder: ImageFolder, split: Split, side: int, most: int, scored: int
) -> Task:
    """Return the task of one split of one folder.

    Args:
        name: of the task.
        folder: the images.
        split: which train and which test.
        side: of the network's input.
        most: training images of each class at most; 0: all.
        scored: test images of each class at most; 0: all.

    Raises:
        DataError: the split does not fit, or an image does not decode.
    """
    require_fit(split, folder)
    training, test = (
        [replace(i, source=split.groups.get(i.relative, i.source)) for i in select(folder, names)]
        for names in (split.train, split.test)
    )
    return of_microscope(name, folder.classes, fewer(training, most), fewer(test, scored), side)


def of_microscope(
    name: str,
    classes: Sequence[str],
    training: Sequence[LabelledImage],
    test: Sequence[LabelledImage],
    side: int,
) -> Task:
    """Return the task of given training and test images of one microscope.

    Where the training images are of several microscopes, each counts as much.
    """
    several = len({image.domain for image in training}) > 1
    ways: tuple[Balance, Augment] = ("domains", "microscopes") if several else ("none", "standard")
    return _task(name, classes, side, training, *ways, {name: ask(test, side)})


def of_microscopes(data: Path, side: int, most: int, scored: int) -> Task:
    """Return the task of several microscopes: source-disjoint, and one that none trained on.

    Trained on: those of ``sets/blood.toml`` without the held-out sources of
    `unseen.microscopes.sides`, which are asked as whole images. Never trained on: those of
    ``sets/aml.toml``, asked as the crops that `run` makes.

    Args:
        data: folder of the microscopes' folders.
        side: of the network's input.
        most: training images of each class and microscope at most; 0: all.
        scored: the same of the images that are asked.
    """
    classes, (trained, others) = microscopes.read((TRAINED, ONLY_SCORED), data)
    training: list[LabelledImage] = []
    questions: dict[str, Questions] = {}
    for one in trained:
        own, held = microscopes.sides(one)
        training += microscopes.fewer(own, most)
        questions[f"{one.name}, other sources"] = ask(microscopes.fewer(held, scored), side)
    for one in others:
        known = [image for image in one.images if image.label != NO_CLASS]
        questions[f"{one.name}, unseen"] = ask(known, side, cell_view)
    return _task("microscopes", classes, side, training, "domains", "microscopes", questions)


def _task(
    name: str,
    classes: Sequence[str],
    side: int,
    training: Sequence[LabelledImage],
    balance: Balance,
    augment: Augment,
    questions: Mapping[str, Questions],
) -> Task:
    names = [image.relative for image in training]
    asked = {kind: list(one.names) for kind, one in questions.items()}
    content = json.dumps([list(classes), sorted(names), asked, balance, augment], sort_keys=True)
    drawn = sorted(training, key=lambda image: draw_key(1, image.relative))
    return Task(
        name,
        classes,
        side,
        training,
        balance,
        augment,
        questions,
        hashlib.sha256(content.encode()).hexdigest(),
        drawn[:CALIBRATED],
    )
