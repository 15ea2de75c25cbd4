"""Where decoded training images are kept: in memory, or in a file that is mapped into it.

The file has no name: the system removes it when the process ends, however it ends. It is written,
not mapped, while it grows, so that a full disk is an error and not the end of the process.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np

from qlvit_edge.choices import Cache
from qlvit_edge.data.augment import Image
from qlvit_edge.errors import DataError
from qlvit_edge.memory import available_memory
from qlvit_edge.presence import present

if TYPE_CHECKING:
    from qlvit_edge.data.loader import CachedImage

_SHARE: Final = 0.5
"""Of the available memory that images may fill before the rest goes to the disk."""

_NOTHING: Final[Image] = np.empty((0, 0, 3), np.uint8)


class ImageStore:
    """Keeps the pictures of `CachedImage`; may be used by several threads.

    Attributes:
        in_memory: bytes kept there.
        on_disk: bytes in the file.
    """

    def __init__(
        self, cache: Cache = "memory", folder: Path | None = None, processes: int = 1
    ) -> None:
        """Keep images.

        Args:
            cache: ``memory`` or ``disk``; ``auto`` fills half of the memory that is available
                now, then a file.
            folder: where the file lies; None: where temporary files do.
            processes: that keep images on this machine, and share that memory.
        """
        available = available_memory() if cache == "auto" else None
        self.in_memory = self.on_disk = 0
        self._most: float = {
            "memory": float("inf"),
            "disk": -1.0,
            "auto": float("inf") if available is None else _SHARE * available / processes,
        }[cache]
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._file: FileIO | None = None
        self._mapped: mmap.mmap | None = None
        self._lock = Lock()

    def keep(self, entry: CachedImage) -> Callable[[], CachedImage]:
        """Keep an image; returns what gives it back, which may be called when all are kept.

        Raises:
            DataError: the disk is full, or cannot be written.
        """
        wanted = entry.image.nbytes + entry.whole.nbytes
        with self._lock:
            if self.in_memory + wanted <= self._most:
                self.in_memory += wanted
                return lambda: entry
            image, whole = self._written(entry.image), self._written(entry.whole)
        # The pictures themselves must not live on in what is returned.
        bare = replace(entry, image=_NOTHING, whole=_NOTHING)
        return lambda: replace(bare, image=image(), whole=whole())

    def close(self) -> None:
        """Give up what is not in memory: nothing of it may be asked for."""
        if self._file is not None:
            self._file.close()

    def _written(self, picture: Image) -> Callable[[], Image]:
        begin, shape = self.on_disk, picture.shape
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            left = np.ascontiguousarray(picture).reshape(-1).data
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise DataError(
                self._folder,
                f"cannot hold the decoded images: {error.strerror} after {begin / 1e6:.0f} MB",
                "free space there, name another folder, or use --cache memory",
            ) from None
        self.on_disk += picture.nbytes
        return lambda: self._view(begin, shape)

    def _view(self, begin: int, shape: tuple[int, ...]) -> Image:
        with self._lock:
            if self._mapped is None:
                file = present(self._file, "the file of pictures")
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                file.close()  # mapped, it stays
        flat = np.frombuffer(self._mapped, np.uint8, int(np.prod(shape)), begin)
        return flat.reshape(shape)
