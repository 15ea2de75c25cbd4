"""A tree with one folder per class, read as a list of labelled images.

Only names are looked at here; whether the files decode is for `qlvit_edge.data.checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.preprocess import IMAGE_SUFFIXES

_LAYOUT = "give a folder that holds one folder of images per class"


@dataclass(frozen=True)
class LabelledImage:
    """One image of a data set.

    Attributes:
        path: where the file is.
        relative: ``"CLASS/file"``, the name splits and reports use.
        label: index into the folder's classes.
    """

    path: Path
    relative: str
    label: int


@dataclass(frozen=True)
class ImageFolder:
    """A data set on disk.

    Attributes:
        root: the folder that was scanned.
        classes: folder names in the order of their code points.
        images: in the order of class and file name.
        ignored: names below ``root`` that are neither class folders nor images in one
            (hidden files and folders are not even listed).
    """

    root: Path
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    ignored: tuple[str, ...] = ()


def scan(root: Path, *, least_classes: int = 2, least_images: int = 2) -> ImageFolder:
    """List the classes and images below ``root``.

    Args:
        root: the folder of class folders.
        least_classes: 1 or 2; a network learns from two classes, one can be measured.
        least_images: 1 or 2 of each class.

    Raises:
        DataError: the folder is missing, unreadable or empty, holds too few classes, a class
            has too few images, or a name is not UTF-8.
    """
    if not root.exists():
        raise DataError(root, "no such folder", _LAYOUT)
    if not root.is_dir():
        raise DataError(root, "not a folder", _LAYOUT)
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    ignored = [entry.name for entry in _visible(root) if not entry.is_dir()]
    if not folders:
        raise DataError(root, "holds no class folders", _LAYOUT)
    images: list[LabelledImage] = []
    for label, folder in enumerate(folders):
        found = 0
        if not folder.name.strip() or not folder.name.isprintable():
            raise DataError(folder, "is no name for a class", "give it a printable name")
        for entry in _visible(folder):
            relative = f"{folder.name}/{entry.name}"
            if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                images.append(LabelledImage(entry, relative, label))
                found += 1
            else:
                ignored.append(relative)
        if found < least_images:
            count = "one image only" if found else "no images"
            least = "two" if least_images == 2 else "one"
            raise DataError(
                folder, f"class {folder.name!r} has {count}", f"give each class at least {least}"
            )
    if len(folders) < least_classes:
        raise DataError(root, f"holds one class only ({folders[0].name!r})", _LAYOUT)
    classes = tuple(folder.name for folder in folders)
    return ImageFolder(root, classes, tuple(images), tuple(ignored))


def _visible(folder: Path) -> list[Path]:
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(folder, f"cannot be read ({reason})", "check its permissions") from error
    for entry in entries:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            shown = ascii(entry.name)
            raise DataError(folder, f"the name {shown} is not UTF-8", "rename it") from error
    return sorted(entries, key=lambda entry: entry.name)
