"""Pictures of a run's frames with their cells drawn in, saved beside its results."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2

from qlvit_edge.camera.base import Camera, Frame
from qlvit_edge.camera.folder import PictureCamera
from qlvit_edge.errors import DataError
from qlvit_edge.fields.census import Census
from qlvit_edge.files import ensure_writable, write_bytes
from qlvit_edge.microscope.annotate import annotate, draw_census, draw_scale
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.settings import Settings

ROOM_BYTES = 100_000_000
"""Left free on the disk that pictures are saved to, or a tenth of it where that is less."""

LOOK_SECONDS = 1.0
"""How often the disk is looked at."""


def save_picture(
    folder: Path,
    run_id: int,
    frame: Frame,
    cells: Sequence[ClassifiedCell],
    labels: Sequence[str],
    um_per_pixel: float | None = None,
    census: Census | None = None,
) -> Path:
    """Save a frame with its cells and a scale bar drawn in as JPEG; returns its path.

    Raises:
        DataError: it cannot be saved.
    """
    drawn = annotate(frame.image, cells, labels)
    if census is not None:
        draw_census(drawn, census)
    drawn = draw_scale(drawn, um_per_pixel)
    good, content = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    if not good:
        raise ValueError(f"frame {frame.index} cannot be written as JPEG")
    return _write(folder / f"run{run_id:03d}-frame{frame.index:06d}.jpg", content.tobytes())


class Pictures:
    """Saves what of a run's frames is to be saved, for as long as there is room.

    A picture that cannot be saved ends the pictures, not the run: what is counted goes on, and
    keeps the rest of the disk.

    Attributes:
        stopped: why no more are saved; None while they are.
    """

    def __init__(
        self,
        settings: Settings,
        labels: Sequence[str],
        um_per_pixel: float | None,
        note: Callable[[str], None],
    ) -> None:
        """Set up.

        Args:
            settings: of the run; they name the folders.
            labels: the model's classes.
            um_per_pixel: the scale; None where none is known.
            note: is told, once, that no more are saved.
        """
        self.stopped: str | None = None
        self._settings, self._labels, self._scale = settings, labels, um_per_pixel
        self._note = note
        self._next_look = 0.0

    def save(
        self, run_id: int, frame: Frame, cells: Sequence[ClassifiedCell], census: Census | None
    ) -> tuple[Path | None, Path | None]:
        """Save a frame; returns the paths with cells drawn in and as it is, None where not."""
        settings, saved, kept = self._settings, None, None
        try:
            self._look()
            if settings.save is not None and self.stopped is None:
                drawn_in = (cells, self._labels, self._scale, census)
                saved = save_picture(settings.save, run_id, frame, *drawn_in)
            if settings.keep is not None and cells and self.stopped is None:
                kept = keep_picture(settings.keep, run_id, frame)
        except DataError as error:
            self._stop(str(error))
        return saved, kept

    def _look(self) -> None:
        """Stop while there is still room for results, which may lie on the same disk."""
        if self.stopped is not None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        for folder in filter(None, (self._settings.save, self._settings.keep)):
            with suppress(OSError):  # saving there will say what is wrong
                disk = shutil.disk_usage(folder)
                if disk.free < min(ROOM_BYTES, disk.total // 10):
                    left = f"only {disk.free / 1e6:.0f} MB are left on its disk, for the results"
                    self._stop(f"{folder}: {left}; free some space before the next run")

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        self._note(f"{reason}; no more pictures are saved, counting goes on")


def keep_picture(folder: Path, run_id: int, frame: Frame) -> Path:
    """Save a frame as it is, as PNG; returns its path.

    Raises:
        DataError: it cannot be saved.
    """
    pixels = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    good, content = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not good:
        raise ValueError(f"frame {frame.index} cannot be written as PNG")
    return _write(folder / f"run{run_id:03d}-frame{frame.index:06d}-plain.png", content.tobytes())


def _write(path: Path, content: bytes) -> Path:
    try:
        write_bytes(path, content)
    except OSError as error:
        raise DataError(
            path,
            f"the picture cannot be saved ({(error.strerror or str(error)).lower()})",
            "check its folder and the space on that disk",
        ) from error
    return path


@contextmanager
def folder_for(pictures: Path | None) -> Iterator[None]:
    """Make the folder for pictures; it goes again, where it was not there, if it stays empty."""
    if pictures is None:
        yield
        return
    made = [folder for folder in (pictures, *pictures.parents) if not folder.exists()]
    try:
        ensure_writable(pictures)
        yield
    except BaseException:
        with suppress(OSError):  # something lies in it
            for folder in made:
                folder.rmdir()
        raise


def require_apart(save: Path, source: Camera) -> None:
    """Refuse to save pictures where the next run would take them for the source's."""
    if not isinstance(source, PictureCamera):
        return
    if save.resolve().is_relative_to(source.folder.resolve()):
        raise DataError(
            save,
            f"it lies in {source.folder}, whose images are read: the next run would read these",
            "save the pictures elsewhere",
        )
