"""Labelled images as one file that is the same to the byte wherever it is packed from."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.data.folder import scan
from qlvit_edge.errors import DataError

FOLDER = "images"
"""Folder that everything lies in."""


@dataclass(frozen=True)
class Parcel:
    """Images that were packed.

    Attributes:
        path: the tar file.
        images: how many.
    """

    path: Path
    images: int


def pack(data: Path, target: Path) -> Parcel:
    """Write the labelled images of a folder, or of a manifest, into a tar file.

    Times, owners and the order of the file system are left out, so that a copy that was cut
    short can be gone on with.

    Args:
        data: see `qlvit_edge.data.folder.scan`.
        target: file to write.

    Raises:
        DataError: see there; or an image cannot be read.
    """
    found = scan(data, least_classes=1, least_images=1)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for image in sorted(found.images, key=lambda image: image.relative):
            _add(
                archive,
                image.path,
                f"{FOLDER}/{found.classes[image.label]}/{_file(image.relative)}",
            )
    return Parcel(target, len(found.images))


def _file(name: str) -> str:
    """The name of an image in its class: what stands below the class, in one piece."""
    return name.partition("/")[2].replace("/", "_") or name


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            member.size = file.tell()
            file.seek(0)
            archive.addfile(member, file)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "mend or remove it") from None
