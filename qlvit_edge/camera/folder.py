"""A folder of pictures as a camera: every image once, in the order of the names."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import CameraError
from qlvit_edge.preprocess import IMAGE_SUFFIXES, decode_noting


def pictures(folder: Path, name: str) -> list[Path]:
    """Return the image files in and below ``folder``, sorted; hidden ones are left out.

    Raises:
        CameraError: the folder is missing, holds no image, or an image's name is not UTF-8;
            ``name`` is the camera's.
    """
    if not folder.is_dir():
        raise CameraError(name, "no such folder", "check the name")
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    for path in found:
        relative = str(path.relative_to(folder))
        try:
            relative.encode()
        except UnicodeEncodeError as error:
            shown = ascii(relative)
            raise CameraError(name, f"the name {shown} is not UTF-8", "rename it") from error
    if not found:
        raise CameraError(
            name, "the folder holds no image", f"give one with {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return sorted(found)


class PictureCamera:
    """Base of cameras that show the images of a folder; they need no starting or stopping.

    Attributes:
        name: the source, for messages and results.
        folder: where the images are.
        unusual: images shown that are not plain 8-bit RGB, by kind, see
            `qlvit_edge.preprocess.unusual`.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """Look the folder through.

        Raises:
            CameraError: see `pictures`.
        """
        self.name = name
        self.folder = folder
        self.unusual: Counter[str] = Counter()
        self._paths = pictures(folder, name)
        self._seen: set[int] = set()

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

    def _decode(self, number: int) -> NDArray[np.uint8]:
        """Return image ``number`` as (H, W, 3) uint8 RGB; counts what is unusual about it."""
        kinds: list[str] = []
        image = decode_noting(self._paths[number], kinds)
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
        """Give every image once.

        Raises:
            DataError: an image is damaged.
        """
        for index in range(len(self._paths)):
            yield Frame(self._decode(index), index, time.time(), self._relative(index))
