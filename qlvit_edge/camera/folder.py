"""A folder of pictures as a camera: every image once, in the order of the names."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.report import CameraReport
from qlvit_edge.errors import CameraError, DataError
from qlvit_edge.imagefolder import (
    SEEN,
    PassedOver,
    is_clutter,
    kind_of,
    notes_on,
    said_of,
    when_settled,
)
from qlvit_edge.preprocess import IMAGE_SUFFIXES, decode_noting
from qlvit_edge.text import plain


@dataclass
class Found:
    """What lies in and below a folder.

    Attributes:
        images: sorted.
        passed_over: what is not used, sorted by name.
        unread: folders, relative, that could not be listed → why.
    """

    images: list[Path] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


def pictures(folder: Path, name: str) -> Found:
    """Look for image files in and below ``folder``; links are followed, hidden ones left out.

    Raises:
        CameraError: the folder is missing, holds no image, or an image's name is not UTF-8;
            ``name`` is the camera's.
    """
    if not folder.is_dir():
        raise CameraError(name, "no such folder", "check the name")
    found = Found()
    look_through(folder, folder, found, set())
    found.images.sort()
    found.passed_over.sort(key=lambda entry: entry.name)
    for path in found.images:
        relative = str(path.relative_to(folder))
        try:
            relative.encode()
        except UnicodeEncodeError as error:
            shown = ascii(relative)
            raise CameraError(name, f"the name {shown} is not UTF-8", "rename it") from error
    if not found.images:
        finding = "the folder holds no image"
        notes = [*notes_on(found.passed_over), *found.unread.values()]
        if notes:
            raise CameraError(name, finding, "; ".join(notes))
        raise CameraError(name, finding, f"give one with {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


def look_through(
    root: Path, folder: Path, found: Found, seen: set[tuple[int, int]], *, inside: str = ""
) -> None:
    """Add what lies in a folder; each folder counts once, so that links cannot go in circles.

    Args:
        root: the folder that the camera shows.
        folder: it, or one below it.
        found: is added to.
        seen: device and number of the folders looked through, is added to.
        inside: the folder relative to the root.
    """
    try:
        status = os.stat(folder)
        entries = list(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        found.unread[inside or str(root)] = f"cannot be read ({reason})"
        return
    if (status.st_dev, status.st_ino) in seen:
        found.passed_over.append(PassedOver(inside, SEEN))
        return
    seen.add((status.st_dev, status.st_ino))
    # A folder itself before links to it.
    for entry in sorted(entries, key=lambda path: (path.is_symlink(), path.name)):
        relative = f"{inside}/{entry.name}" if inside else entry.name
        kind = kind_of(entry)
        if kind is not None:
            if not is_clutter(entry):
                found.passed_over.append(PassedOver(relative, kind))
        elif entry.is_dir():
            look_through(root, entry, found, seen, inside=relative)
        else:
            found.images.append(entry)


class PictureCamera:
    """Base of cameras that show images of files; they need no starting or stopping.

    Attributes:
        name: the source, for messages and results.
        identity: "": a picture does not say which camera took it.
        folder: where the images are.
        report: images that were left out.
        unusual: images shown that are not plain 8-bit RGB, by kind, see
            `qlvit_edge.preprocess.unusual`.
    """

    identity = ""

    def __init__(self, name: str, folder: Path) -> None:
        """Look the folder through.

        Raises:
            CameraError: see `pictures`.
        """
        found = pictures(folder, name)
        self._hold(name, folder, found.images, notes_on(found.passed_over))
        for unread, finding in found.unread.items():
            self.report.drop(finding, unread)

    def _hold(self, name: str, folder: Path, paths: list[Path], notes: list[str]) -> None:
        self.name = name
        self.folder = folder
        self.report = CameraReport()
        self.unusual: Counter[str] = Counter()
        self._paths = paths
        self._notes = notes
        self._seen: set[int] = set()

    def __enter__(self) -> Self:
        """Say what is passed over; nothing needs starting."""
        for note in self._notes:
            self.report.say(note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing needs stopping."""

    def _decode(self, number: int) -> NDArray[np.uint8]:
        """Return image ``number`` as (H, W, 3) uint8 RGB; counts what is unusual about it."""
        kinds: list[str] = []
        image = when_settled(self._paths[number], partial(decode_noting, kinds=kinds))
        if number not in self._seen:
            self._seen.add(number)
            self.unusual.update(kinds)
        return image

    def _relative(self, number: int) -> str:
        return self._paths[number].relative_to(self.folder).as_posix()


class FolderCamera(PictureCamera):
    """Gives the images of a folder, as fast as they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Look the folder through.

        Raises:
            CameraError: see `pictures`.
        """
        super().__init__(str(folder), folder)

    def frames(self) -> Iterator[Frame]:
        """Give every image once; those that are damaged are left out and reported."""
        for index, path in enumerate(self._paths):
            relative = self._relative(index)
            try:
                image = self._decode(index)
            except DataError as error:
                self.report.drop(said_of(error, path), plain(relative))
                continue
            yield Frame(image, index, time.time(), relative)


class ImageCamera(FolderCamera):
    """Gives one image, as a folder that holds only it would."""

    def __init__(self, path: Path) -> None:
        """Note the file.

        Raises:
            CameraError: its name is not UTF-8.
        """
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise CameraError(ascii(str(path)), "its name is not UTF-8", "rename it") from error
        self._hold(str(path), path, [path], [])

    def _relative(self, number: int) -> str:
        return self._paths[number].name
