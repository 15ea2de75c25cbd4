"""Which pictures a folder of unlabelled or labelled cells holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from qlvit_edge.camera.folder import pictures
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.labelled import NO_CLASS
from qlvit_edge.data.relabel import numbers_of
from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import nfc
from qlvit_edge.text import plain


def pictures_below(folder: Path) -> list[LabelledImage]:
    """Return the pictures in and below a folder, without labels.

    Raises:
        DataError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        finding = "not a folder" if folder.exists() else "no such folder"
        raise DataError(folder, finding, "name a folder of pictures from the new microscope")
    found = pictures(folder, str(folder))
    return [
        LabelledImage(path, nfc(str(path.relative_to(folder))), NO_CLASS) for path in found.images
    ]


def labelled_pictures(
    folder: Path, classes: list[str], *, only: Collection[str] | None = None
) -> tuple[list[LabelledImage], list[str]]:
    """Return the pictures of class folders, labelled by a run's classes, and what was matched.

    Folders are matched by their names, whatever their capitals, spaces and marks.

    Args:
        folder: one folder per class, or a manifest.
        classes: of the run, in the order of its outputs.
        only: class folders that are looked at; None: all.

    Raises:
        DataError: see `scan`; or a folder is of no class of the run.
    """
    scanned = scan(folder, least_classes=1, least_images=1)
    labels: dict[int, int] = {}
    notes: list[str] = []
    unknown: list[str] = []
    numbers = numbers_of(scanned.classes, classes)
    for place, (name, label) in enumerate(zip(scanned.classes, numbers, strict=True)):
        if only is not None and name not in only:
            continue
        if label is None:
            unknown.append(name)
            continue
        labels[place] = label
        if classes[label] != name:
            notes.append(f"{plain(name)} taken as {plain(classes[label])}")
    if unknown:
        raise DataError(
            folder,
            f"has classes that the run does not know: {', '.join(map(plain, unknown))} (it knows "
            f"{', '.join(map(plain, classes))})",
            "teach it new classes with `qlvit-edge train --from RUN`, or move their folders away",
        )
    images = [
        replace(image, label=labels[image.label])
        for image in scanned.images
        if image.label in labels
    ]
    return images, notes
