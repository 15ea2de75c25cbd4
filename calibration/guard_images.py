"""Which of a run's images its guard is fitted on: those trained with, and those held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from qlvit_edge.data.choose import evenly, shares
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.split import Split
from qlvit_edge.training.checkpoint import HOLD_OUT_DRAW, RunConfig
from qlvit_edge.training.holdout import hold_out, with_source


@dataclass(frozen=True)
class GuardImages:
    """What a guard is fitted on.

    Attributes:
        training: images that the network was trained with.
        held_out: images of its training side whose sources it was not trained with.
        missing: why there are none, in words; "" where there are.
    """

    training: Sequence[LabelledImage] = ()
    held_out: Sequence[LabelledImage] = ()
    missing: str = ""


def guard_images(run: RunConfig, folder: ImageFolder, split: Split, most: int) -> GuardImages:
    """Choose a guard's images from a run's training side; test images are never among them.

    Args:
        run: the run.
        folder: where its images are.
        split: its split.
        most: images of each kind, evenly over classes and domains.
    """
    if run.training.validation == 0:
        return GuardImages(missing="the run held no images out from training")
    if run.training.hold_out_draw != HOLD_OUT_DRAW:
        return GuardImages(missing="the run does not record which images it held out")
    if list(folder.classes) != run.classes:
        return GuardImages(missing="the images are of other classes than the run's")
    there = {image.relative: image for image in folder.images}
    if any(name not in there for name in split.train):
        return GuardImages(missing="the run's own training images are not there")
    side = [with_source(there[name], split) for name in split.train]
    training, held_out = hold_out(side, split, run.training.validation, run.training.seed)
    return GuardImages(_balanced(training, most), _balanced(held_out, most))


def _balanced(images: Sequence[LabelledImage], most: int) -> list[LabelledImage]:
    """Choose about ``most`` images, evenly over classes and domains, and over each one's own."""
    groups: defaultdict[tuple[int, str], list[LabelledImage]] = defaultdict(list)
    for image in images:
        groups[image.label, image.domain].append(image)
    ordered = [groups[key] for key in sorted(groups)]
    wanted = shares([len(group) for group in ordered], most)
    return [
        group[index]
        for group, count in zip(ordered, wanted, strict=True)
        for index in evenly(len(group), count)
    ]
