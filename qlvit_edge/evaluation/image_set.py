"""The labelled images that a model is measured on, and how much they prove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from qlvit_edge import bundled
from qlvit_edge.data.folder import ImageFolder, LabelledImage, scan
from qlvit_edge.data.names import groups_from_names
from qlvit_edge.data.source_map import read_source_map
from qlvit_edge.data.split import Split, load_split, require_fit, select
from qlvit_edge.errors import DataError
from qlvit_edge.evaluation.class_match import ClassMap, ClassMatch, match_classes
from qlvit_edge.evaluation.measured_model import Model
from qlvit_edge.evaluation.seen_images import SeenImages, seen_images
from qlvit_edge.imagefolder import kind_of, nfc


@dataclass(frozen=True)
class UnknownImage:
    """An image of a class that the model does not know.

    Attributes:
        image: the file; its label is the folder's, and means nothing to the model.
        folder: name of the class folder.
    """

    image: LabelledImage
    folder: str


@dataclass(frozen=True)
class ImageSet:
    """What a model is measured on.

    Attributes:
        folder: where the images are.
        match: which class of the model each folder stands for.
        known: images of the model's classes; `label` is an index into `match.labels`.
        unknown: images of other classes.
        split: the split whose test side they are; None when they are the whole folder.
        split_of_training: whether that is the split that the model was trained with; None where
            that is not known.
        bundled: whether they are the few crops that the package brings along.
        seen: tells which of them are training images.
        given: relative name → source, as the user said; empty where nothing was said.
    """

    folder: ImageFolder
    match: ClassMatch
    known: tuple[LabelledImage, ...]
    unknown: tuple[UnknownImage, ...]
    split: Split | None
    split_of_training: bool | None
    bundled: bool
    seen: SeenImages
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> Mapping[str, str]:
        """Relative name → source: as it was given, or as the split or the manifest has it."""
        if self.given:
            return self.given
        own = {} if self.split is None else self.split.groups
        return own or self.folder.sources


def gather(
    model: Model,
    root: Path | None,
    split_file: Path | None,
    *,
    class_map: ClassMap,
    allow_unknown: bool,
    groups: Path | None = None,
    groups_from_name: str | None = None,
    strangers: Path | None = None,
) -> ImageSet:
    """Choose the images and match their folders with the model's classes.

    Args:
        model: from `open_model`.
        root: folder with one folder of images per class; None means the bundled crops.
        split_file: measure its test side only.
        class_map: what the user says about folders.
        allow_unknown: folders that stand for no class of the model are unknown classes.
        groups: CSV of sources (class,file,source,confident) to draw intervals over.
        groups_from_name: regular expression that finds the source in a file's name.
        strangers: folder of images, or of folders of images, that the model does not know.

    Raises:
        DataError: the folder or the split cannot be used, or a folder's class is not known.
    """
    if root is None:  # cells of more classes than some bundled models know
        root, allow_unknown = bundled.CROPS, True
    folder = scan(root, least_classes=1, least_images=1)
    match = match_classes(
        folder.classes,
        model.labels,
        model.outputs,
        class_map=class_map,
        allow_unknown=allow_unknown,
        subject=folder.root,
    )
    split = None
    images = list(folder.images)
    if split_file is not None:
        split = load_split(split_file)
        require_fit(split, folder)
        images = select(folder, split.test)
    known: list[LabelledImage] = []
    unknown = [UnknownImage(image, image.relative.partition("/")[0]) for image in folder.unknown]
    for image in images:
        label = match.of_folder[image.label]
        if label is None:
            unknown.append(UnknownImage(image, folder.classes[image.label]))
        else:
            known.append(replace(image, label=label))
    if not known:
        raise DataError(
            split_file or folder.root,
            "names no image of a class that the model knows",
            "give images of its classes",
        )
    if strangers is not None:
        unknown += list_strangers(strangers)
    present = {image.label for image in known}
    missing = tuple(label for i, label in enumerate(match.labels) if i not in present)
    return ImageSet(
        folder=folder,
        match=replace(match, missing=missing),
        known=tuple(known),
        unknown=tuple(unknown),
        split=split,
        split_of_training=_same_split(model, split),
        bundled=folder.root.resolve() == bundled.CROPS.resolve(),
        seen=seen_images(
            None if model.metadata is None else model.metadata.split_fingerprint,
            [model.path, *([] if split_file is None else [split_file])],
            None if split is None else select(folder, split.train),
        ),
        given=given_sources(folder, groups, groups_from_name),
    )


def given_sources(
    folder: ImageFolder, groups: Path | None, expression: str | None
) -> Mapping[str, str]:
    """Return name → source as the user says it; an image without one stands for itself.

    Args:
        folder: the images.
        groups: CSV of sources (class,file,source,confident).
        expression: regular expression that finds the source in a file's name.

    Raises:
        DataError: the file cannot be used, or names no image of the folder.
    """
    if groups is None:
        return {} if expression is None else groups_from_names(folder, expression)
    sources = read_source_map(groups).sources
    if not any(image.relative in sources for image in folder.images):
        finding = f"names no image of {folder.root}"
        raise DataError(groups, finding, "write class and file as the folder has them")
    return sources


def list_strangers(root: Path) -> list[UnknownImage]:
    """Return the images in a folder, or in its folders, as unknown ones.

    Raises:
        DataError: it is not there, or holds no images.
    """
    if root.is_dir() and (loose := _loose_images(root)):
        return [
            UnknownImage(LabelledImage(path, nfc(f"{root.name}/{path.name}"), 0), nfc(root.name))
            for path in loose
        ]
    folder = scan(root, least_classes=1, least_images=1)
    if folder.unknown:  # a manifest's kinds that are none of the classes
        return [UnknownImage(image, image.relative.partition("/")[0]) for image in folder.unknown]
    return [UnknownImage(image, folder.classes[image.label]) for image in folder.images]


def _loose_images(root: Path) -> list[Path]:
    entries = sorted(root.iterdir())
    return [path for path in entries if path.is_file() and kind_of(path) is None]


def _same_split(model: Model, split: Split | None) -> bool | None:
    """Tell whether the model was trained with this split; None where that is not known."""
    if split is None or model.metadata is None or model.metadata.split_fingerprint is None:
        return None
    return split.fingerprint == model.metadata.split_fingerprint
