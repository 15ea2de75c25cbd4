"""A tree with one folder per class, or a manifest, read as a list of labelled images.

Only names are looked at here; whether the files decode is for `qlvit_edge.data.checks`.
Names are compared in Unicode's composed form (NFC), so that a split made where a system
stores é as two characters fits a folder where it is one. Links are followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from qlvit_edge.data.labelled import ImageFolder, LabelledImage
from qlvit_edge.data.manifest import images_in_manifest, paths_in_manifest
from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import (
    HIDDEN_FOLDER,
    LOOSE,
    NESTED,
    PassedOver,
    is_clutter,
    kind_of,
    nfc,
    notes_on,
)
from qlvit_edge.text import plain

__all__ = ["ImageFolder", "LabelledImage", "class_folders", "files_of", "images_of", "scan"]

_LAYOUT = "give a folder that holds one folder of images per class"


def scan(root: Path, *, least_classes: int = 2, least_images: int = 2) -> ImageFolder:
    """List the classes and images below a folder, or those that a manifest names.

    Args:
        root: the folder of class folders, or a manifest that `qlvit-edge data merge` wrote.
        least_classes: 1 or 2; a network learns from two classes, one can be measured.
        least_images: 1 or 2 of each class.

    Raises:
        DataError: the folder is missing, unreadable or empty, holds too few classes, a class
            has too few images, a name is not UTF-8, or two names are one in Unicode's
            composed form; or the manifest does not fit the files it names.
    """
    if not root.exists():
        raise DataError(root, "no such folder or manifest", _LAYOUT)
    if root.is_file():
        return _few(images_in_manifest(root), least_classes, least_images)
    if not root.is_dir():
        raise DataError(root, "not a folder", _LAYOUT)
    passed_over: list[PassedOver] = []
    folders = class_folders(root, passed_over)
    if not folders:
        raise DataError(root, "holds no class folders", _remedy(passed_over, _LAYOUT))
    images: list[LabelledImage] = []
    for label, folder in enumerate(folders):
        found = images_of(folder, label, passed_over)
        if len(found) < least_images:
            remedy = f"give each class at least {'two' if least_images == 2 else 'one'}"
            raise _too_few(root, folders, folder, len(found), passed_over, remedy)
        images += found
    if len(folders) < least_classes:
        finding = f"holds one class only ({plain(folders[0].name)!r})"
        raise DataError(root, finding, _remedy(passed_over, _LAYOUT))
    classes = tuple(nfc(folder.name) for folder in folders)
    return ImageFolder(root, classes, tuple(images), tuple(passed_over))


def files_of(root: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of the given names that are there, in a folder or a manifest.

    Raises:
        DataError: ``root`` is a file and no manifest.
    """
    if root.is_file():
        wanted = set(names)
        found = [path for name, path in paths_in_manifest(root) if name in wanted]
    else:
        found = [root / name for name in names]
    return [path for path in found if path.is_file()]


def class_folders(root: Path, passed_over: list[PassedOver]) -> list[Path]:
    """Return the folders in ``root``, and add what else lies there to ``passed_over``."""
    folders: list[Path] = []
    for entry in _entries(root):
        kind = kind_of(entry)
        if entry.is_dir() and kind is None:
            folders.append(entry)
        elif not is_clutter(entry) or kind is HIDDEN_FOLDER:
            passed_over.append(PassedOver(nfc(entry.name), kind or LOOSE))
    return folders


def _few(folder: ImageFolder, least_classes: int, least_images: int) -> ImageFolder:
    """Return what a manifest names if that is enough."""
    counts = Counter(image.label for image in folder.images)
    for label, name in enumerate(folder.classes):
        if counts[label] < least_images:
            finding = f"class {plain(name)!r} has one image only"
            raise DataError(folder.root, finding, "give each class at least two")
    if len(folder.classes) < least_classes:
        finding = f"holds one class only ({plain(folder.classes[0])!r})"
        raise DataError(folder.root, finding, "merge folders of two or more classes")
    return folder


def images_of(folder: Path, label: int, passed_over: list[PassedOver]) -> list[LabelledImage]:
    """Return a class's images, and add what else lies there to ``passed_over``."""
    if not folder.name.strip() or not folder.name.isprintable():
        raise DataError(ascii(str(folder)), "is no name for a class", "give it a printable name")
    found: list[LabelledImage] = []
    for entry in _entries(folder):
        relative = nfc(f"{folder.name}/{entry.name}")
        kind = kind_of(entry)
        if kind is None and not entry.is_dir():
            found.append(LabelledImage(entry, relative, label))
        elif not is_clutter(entry):
            passed_over.append(PassedOver(relative, kind or NESTED))
    return found


def _too_few(
    root: Path,
    folders: list[Path],
    folder: Path,
    count: int,
    passed_over: list[PassedOver],
    remedy: str,
) -> DataError:
    """What to say of a class with no image, or one."""
    inner = [name for name in map(_first_class_in, folders) if name]
    if count == 0 and len(inner) == len(folders):
        names = ", ".join(plain(entry.name) for entry in folders[:4])
        return DataError(
            root,
            f"its folders ({names}) hold folders of images themselves, as {inner[0]}",
            f"give one of them, such as {folders[0]}, or move the classes of all into one folder",
        )
    own = [entry for entry in passed_over if entry.name.startswith(f"{nfc(folder.name)}/")]
    counted = "one image only" if count else "no images"
    return DataError(
        folder,
        f"class {folder.name!r} has {counted}",
        _remedy(own, remedy),
    )


def _first_class_in(folder: Path) -> str:
    """Return ``"OUTER/inner"`` where a folder's folder holds an image; "" elsewhere."""
    for inner in _entries(folder):
        if inner.is_dir() and kind_of(inner) is None:
            for entry in _entries(inner):
                if kind_of(entry) is None and not entry.is_dir():
                    return plain(f"{folder.name}/{inner.name}")
    return ""


def _remedy(passed_over: list[PassedOver], otherwise: str) -> str:
    return "; ".join([*notes_on(passed_over), otherwise])


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, by composed name."""
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(folder, f"cannot be read ({reason})", "check its permissions") from error
    names: dict[str, Path] = {}
    for entry in entries:
        if entry.name.startswith("."):
            names[entry.name] = entry
            continue
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            shown = ascii(entry.name)
            raise DataError(folder, f"the name {shown} is not UTF-8", "rename it") from error
        if nfc(entry.name) in names:
            raise DataError(
                folder,
                f"two names are both {nfc(entry.name)!r} (composed and decomposed Unicode)",
                "rename one of them",
            )
        names[nfc(entry.name)] = entry
    return [names[name] for name in sorted(names)]
