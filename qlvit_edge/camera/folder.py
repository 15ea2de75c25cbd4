"""A folder of pictures as a camera: every image once, in the order of the names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import CameraError
from qlvit_edge.preprocess import IMAGE_SUFFIXES, decode


def pictures(folder: Path, name: str) -> list[Path]:
    """Return the image files in and below ``folder``, sorted.

    Raises:
        CameraError: the folder is missing or holds no image; ``name`` is the camera's.
    """
    if not folder.is_dir():
        raise CameraError(name, "no such folder", "check the name")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise CameraError(
            name, "the folder holds no image", f"give one with {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return found


class FolderCamera:
    """Gives the images of a folder, as fast as they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Look the folder through.

        Raises:
            CameraError: see `pictures`.
        """
        self.name = str(folder)
        self._folder = folder
        self._paths = pictures(folder, self.name)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._paths)

    def __enter__(self) -> Self:
        """Nothing needs starting."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing needs stopping."""

    def frames(self) -> Iterator[Frame]:
        """Give every image once.

        Raises:
            DataError: an image is damaged.
        """
        for index, path in enumerate(self._paths):
            yield Frame(decode(path), index, time.time(), path.relative_to(self._folder).as_posix())
