"""A folder into which a scanner drops images: each is taken once, as soon as it is whole.

An image is taken when it has not changed between two looks and decodes without a gap; one that
does not decode waits while others go on, and counts as damaged once it has been quiet for
`DAMAGED_SECONDS`. The same name with another content is another image; the same content, written
again, is not, whatever it is called: a file that is renamed or copied shows no other cells.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.folder import Found, PictureCamera, look_through
from qlvit_edge.errors import CameraError, CameraStalledError, DataError
from qlvit_edge.files import sha256
from qlvit_edge.imagefolder import notes_on, said_of
from qlvit_edge.preprocess import decode_stored, read_file
from qlvit_edge.text import plain

LOOK_SECONDS = 0.25
"""How often the folder is looked through."""

DAMAGED_SECONDS = 10.0
"""An image that does not decode and has not changed for so long is damaged."""

_State = tuple[int, int, int]
"""Number of the file, its size in bytes, and its last change in nanoseconds since 1970."""


@dataclass
class _Seen:
    """What is known of an image.

    Attributes:
        state: at the last look.
        since: when it was first seen in that state, on the monotonic clock.
        again: when it is worth reading, on the same clock.
        done: it was taken in that state, or found to be damaged.
        content: hash of what was taken last; "" before.
    """

    state: _State
    since: float
    again: float = 0.0
    done: bool = False
    content: str = ""


class WatchedFolder(PictureCamera):
    """Gives the images that lie in a folder, then those that come, without end."""

    def __init__(self, folder: Path, *, idle_seconds: float = 0.0) -> None:
        """Note the folder.

        Args:
            folder: may be empty still.
            idle_seconds: end after so long without a new image; 0 for never.

        Raises:
            CameraError: there is no such folder.
        """
        name = f"watch:{folder}"
        if not folder.is_dir():
            raise CameraError(name, "no such folder", "make it first, or check the name")
        self._hold(name, folder, [], [])
        self._idle = idle_seconds
        self._images: dict[Path, _Seen] = {}
        self._taken_as: dict[str, str] = {}

    def frames(self) -> Iterator[Frame]:
        """Give each image once; those that are damaged are left out and reported.

        Raises:
            CameraStalledError: the folder is gone.
        """
        index = 0
        last = time.monotonic()
        while not self._idle or time.monotonic() - last < self._idle:
            news = False
            for path in self._ready():
                frame = self._taken(path, index)
                if frame is not None:
                    yield frame
                    index += 1
                    news = True
            if news:
                last = time.monotonic()
            else:
                self.report.waits()
                time.sleep(LOOK_SECONDS)

    def _ready(self) -> list[Path]:
        """Look the folder through: the images that have not changed since, oldest first."""
        found = Found()
        look_through(self.folder, self.folder, found, set())
        if str(self.folder) in found.unread:
            raise CameraStalledError(
                self.name, "the folder is gone", "bring it back and start again; results are kept"
            )
        for note in notes_on(found.passed_over):
            self.report.say(note)
        now = time.monotonic()
        ready = []
        for path in found.images:
            state = _state(path)
            if state is None:
                continue
            seen = self._images.get(path)
            if seen is None:
                self._images[path] = _Seen(state, now)
            elif seen.state != state:
                self._images[path] = _Seen(state, now, content=seen.content)
            elif not seen.done and now >= seen.again:
                ready.append((state[2], path))
        return [path for _, path in sorted(ready)]

    def _taken(self, path: Path, index: int) -> Frame | None:
        """Read an image; None where it is not whole yet, or was taken before."""
        seen = self._images[path]
        relative = path.relative_to(self.folder).as_posix()
        try:
            content = read_file(path)
            digest = sha256(content)
            image, kinds = decode_stored(content, str(path))
        except DataError as error:
            seen.again = seen.since + DAMAGED_SECONDS
            if time.monotonic() >= seen.again:
                seen.done = True
                self.report.drop(said_of(error, path), plain(relative))
            return None
        if _state(path) != seen.state:  # it was written to while it was read
            return None
        seen.done = True
        self.report.damaged.pop(plain(relative), None)
        if seen.content == digest:
            return None
        first = self._taken_as.setdefault(digest, relative)
        if first != relative:
            self.report.say(
                f"{plain(relative)} is {plain(first)} under another name, and is not counted again"
            )
            seen.content = digest
            return None
        if seen.content:
            self.report.say(f"{plain(relative)} was replaced by another image, which is taken too")
        seen.content = digest
        self.unusual.update(kinds)
        return Frame(image, index, time.time(), relative)


def _state(path: Path) -> _State | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
