"""Which images a conversion is proved on: the test side, or the few that the package brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qlvit_edge import bundled
from qlvit_edge.data.folder import ImageFolder, LabelledImage, scan
from qlvit_edge.data.labelled import NO_CLASS
from qlvit_edge.data.relabel import labelled_as
from qlvit_edge.data.split import Split, load_split, require_fit, select
from qlvit_edge.data.training_images import (
    TrainingImages,
    list_training_images,
    read_training_images,
    trained_on,
)
from qlvit_edge.errors import DataError
from qlvit_edge.progress import Progress
from qlvit_edge.training.adapted import CELLS_FOLDER
from qlvit_edge.training.checkpoint import SPLIT_FILE, Checkpoint
from qlvit_edge.training.places import data_folder


@dataclass(frozen=True)
class Sample:
    """The images that a figure is from: belongs to every accuracy.

    Attributes:
        images: how many.
        test_side: how many the test side has; None where there is none, only bundled crops.
        split_fingerprint: of the split whose test side it is; None for the bundled crops.
        own_split: whether that is the split of the training.
        trained_on: images of the test side that were trained on, by content: left out.
        checked: whether images were held against the training images' content.
        folder: name of the images' folder.
        labelled: whether their classes are known; if not, no accuracy is measured.
    """

    images: int
    test_side: int | None
    split_fingerprint: str | None
    own_split: bool
    trained_on: int
    checked: bool
    folder: str
    labelled: bool = True

    @property
    def whole(self) -> bool:
        """Whether it is the whole test side, none of it trained on: if not, a reduced proof."""
        return self.images == self.test_side and self.checked

    @property
    def shows_every_class(self) -> bool:
        """Whether it has to: the bundled crops do not, and are a reduced proof."""
        return self.split_fingerprint is not None

    @property
    def words(self) -> str:
        """All of that in one phrase."""
        if not self.labelled:
            return f"{_count(self.images)} of cells it was fitted to, unlabelled (reduced proof)"
        if self.split_fingerprint is None:
            return f"{_count(self.images)}: bundled crops (reduced proof)"
        side = f"test side of {self.folder}, {'' if self.own_split else 'another '}split"
        side = f"{side} {self.split_fingerprint[:12]}"
        if self.whole:
            return f"{_count(self.images)}: the whole {side}"
        reasons = ["reduced proof"]
        if self.trained_on:
            reasons.append(f"{self.trained_on} of the side were trained on")
        if not self.checked:
            reasons.append("training images told apart by name only")
        return f"{self.images} of {_count(self.test_side or 0)}: {side} ({'; '.join(reasons)})"


def _count(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"


@dataclass(frozen=True)
class ProofImages:
    """What the proof is made on.

    Attributes:
        images: the test images, none of them trained on.
        every: the sample that all of them are.
        sources: name → photograph, slide or patient, of the images of which it is known.
    """

    images: Sequence[LabelledImage]
    every: Sample
    sources: Mapping[str, str] = field(default_factory=dict)

    def sample(self, count: int) -> Sample:
        """Return the sample of so many of them."""
        return Sample(**{**vars(self.every), "images": count})

    def sources_of(self, images: Sequence[LabelledImage]) -> list[str] | None:
        """Return the source of each image, its own name where nobody knows; None of no sources."""
        if not self.sources:
            return None
        return [self.sources.get(image.relative, image.relative) for image in images]


def proof_images(
    checkpoint: Checkpoint,
    data: Path | None,
    split_path: Path | None,
    is_bundled: bool,
    progress: Progress,
) -> ProofImages:
    """Find the test images: those given, else those the run folder records.

    A bundled model without its data is proved on the bundled crops: a reduced proof. Images that
    the network was trained on, whatever they are called now, are left out. A run that was fitted to
    another microscope is proved on cells of that one, whose classes nobody said: that the file is
    its specification needs no labels.

    Raises:
        DataError: the data is not there, does not fit, or is all trained on.
    """
    if data is None and is_bundled:
        every = labelled_as(scan(bundled.CROPS), checkpoint.run.classes)
        crops = Sample(len(every), None, None, False, 0, True, bundled.CROPS.name)
        return ProofImages(every, crops)
    if data is None and split_path is None and checkpoint.run.adapted_from is not None:
        return _fitted_cells(checkpoint)
    folder = scan(data_folder(checkpoint.run, data))
    own = load_split(checkpoint.folder / SPLIT_FILE)
    split = load_split(split_path) if split_path is not None else own
    require_fit(split, folder)
    if list(folder.classes) != checkpoint.run.classes:
        raise DataError(
            folder.root,
            f"has classes {', '.join(folder.classes)}, the run {', '.join(checkpoint.run.classes)}",
            "use the data of this run",
        )
    side = select(folder, split.test)
    listed = _training_images(checkpoint, own, folder, progress)
    seen = set(split.test) & set(own.train)
    if listed is not None:
        with progress("looking for training images", len(side)) as advance:
            seen |= trained_on(side, listed, advance)
    images = [image for image in side if image.relative not in seen]
    if not images or set(split.test) & set(own.train):
        raise DataError(
            split_path or folder.root,
            f"has {len(seen)} of {_count(len(side))} on its test side that this run was trained on",
            "prove on the run's own split, or train on this one",
        )
    return ProofImages(
        images,
        Sample(
            images=len(images),
            test_side=len(side),
            split_fingerprint=split.fingerprint,
            own_split=split.fingerprint == own.fingerprint,
            trained_on=len(seen),
            checked=listed is not None,
            folder=folder.root.name,
        ),
        folder.sources | split.groups,
    )


def _fitted_cells(checkpoint: Checkpoint) -> ProofImages:
    folder = checkpoint.folder / CELLS_FOLDER
    files = sorted(folder.glob("*.png"))
    if not files:
        raise DataError(folder, "holds no cells", "run `qlvit-edge adapt` again, or give --data")
    images = [LabelledImage(path, f"{CELLS_FOLDER}/{path.name}", NO_CLASS) for path in files]
    sample = Sample(len(images), None, None, False, 0, True, folder.name, labelled=False)
    return ProofImages(images, sample)


def _training_images(
    checkpoint: Checkpoint, own: Split, folder: ImageFolder, progress: Progress
) -> TrainingImages | None:
    """Return what the run lists; of a run of before what lies where its training images were."""
    listed = read_training_images(checkpoint.folder)
    if listed is not None:
        if listed.split_fingerprint != own.fingerprint:
            raise DataError(
                checkpoint.folder,
                "its training images and its split are of two trainings",
                "use the files of one run together",
            )
        return listed
    for root in (Path(checkpoint.run.data), folder.root):
        images = [LabelledImage(root / name, name, 0) for name in own.train]
        if all(image.path.is_file() for image in images):
            with progress("listing the training images", len(images)) as advance:
                return list_training_images(images, own.fingerprint, advance)
    return None
