"""Which images the report of a run is made on: a test side, or a whole folder of another lab."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qlvit_edge.data.folder import ImageFolder, LabelledImage, scan
from qlvit_edge.data.labelled import NO_CLASS
from qlvit_edge.data.relabel import numbers_of
from qlvit_edge.data.split import Split, load_split, select
from qlvit_edge.data.training_images import read_training_images, trained_on
from qlvit_edge.errors import DataError
from qlvit_edge.progress import Progress
from qlvit_edge.text import counted
from qlvit_edge.training.checkpoint import SPLIT_FILE, Checkpoint
from qlvit_edge.training.holdout import with_source


@dataclass(frozen=True)
class ReportImages:
    """What a run is measured on.

    Attributes:
        folder: where the images are.
        test: the images, labelled as the run numbers its classes, with their sources.
        split: the run's own split, if they are its test side; None of other images.
        notes: what must be said of them.
    """

    folder: ImageFolder
    test: Sequence[LabelledImage]
    split: Split | None
    notes: tuple[str, ...] = ()


def report_images(
    checkpoint: Checkpoint,
    data: Path | None,
    split_file: Path | None,
    *,
    every_image: bool,
    sources: Callable[[ImageFolder], Mapping[str, str]],
    progress: Progress,
) -> ReportImages:
    """Choose the images.

    Args:
        checkpoint: the run.
        data: folder or manifest; None: what the run was trained on.
        split_file: whose test side is taken; None: the run's own.
        every_image: take all images of the folder instead.
        sources: gives name → source as the user says it, empty where nothing was said.
        progress: makes a progress bar from a description and a total.

    Raises:
        DataError: the folder is not there, does not fit, or holds no image of the run's classes.
    """
    recorded = Path(checkpoint.run.data)
    if data is None and not recorded.exists():
        raise DataError(
            recorded, "the data this run was trained on is not there", "name it with --data"
        )
    folder = scan(data or recorded, least_classes=1, least_images=1)
    split = None
    chosen: Sequence[LabelledImage] = folder.images
    if not every_image:
        split = load_split(split_file or checkpoint.folder / SPLIT_FILE)
        chosen = select(folder, split.test)
    known, notes = _known(folder, chosen, checkpoint)
    given = sources(folder)
    test = [_with_source(image, split, given) for image in known]
    own = split is not None and split.fingerprint == checkpoint.run.split_fingerprint
    if not own:
        notes.append(_seen(checkpoint, test, progress))
    return ReportImages(folder, test, split if own else None, tuple(notes))


def _known(
    folder: ImageFolder, images: Sequence[LabelledImage], checkpoint: Checkpoint
) -> tuple[list[LabelledImage], list[str]]:
    """Return the images of the run's classes, numbered as these are, and a note on others."""
    classes = checkpoint.run.classes
    numbers = numbers_of(folder.classes, classes)
    labelled = [
        replace(image, label=NO_CLASS if (number := numbers[image.label]) is None else number)
        for image in images
    ]
    known = [image for image in labelled if image.label != NO_CLASS]
    others = [name for name, number in zip(folder.classes, numbers, strict=True) if number is None]
    if not known:
        raise DataError(
            folder.root,
            f"holds no image of the run's classes ({', '.join(classes)})",
            "name the folders as these",
        )
    left = len(labelled) - len(known)
    if not left:
        return known, []
    return known, [f"{counted(left, 'image')} left out: the run has no {', '.join(others)}."]


def _with_source(
    image: LabelledImage, split: Split | None, given: Mapping[str, str]
) -> LabelledImage:
    if given:
        return replace(image, source=given.get(image.relative, image.relative))
    return image if split is None else with_source(image, split)


def _seen(checkpoint: Checkpoint, images: Sequence[LabelledImage], progress: Progress) -> str:
    """Say how many of the images the run was trained on."""
    listed = read_training_images(checkpoint.folder)
    if listed is None:
        return (
            "These are not the test images of the run's split, and the run lists no training "
            "images: it may have been trained on some of them."
        )
    with progress("comparing with training images", len(images)) as advance:
        seen = len(trained_on(images, listed, advance))
    if not seen:
        return (
            "These are not the test images of the run's split; none of them is a training image, "
            "by content."
        )
    verb = "is a training image" if seen == 1 else "are training images"
    of_all = f"{seen} of the {counted(len(images), 'image')}"
    return f"{of_all} {verb}, by content: expect less of others."
