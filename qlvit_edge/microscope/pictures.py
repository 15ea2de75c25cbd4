"""Pictures of a run's frames with their cells drawn in, saved beside its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def save_pictures(
    settings: Settings,
    run_id: int,
    frame: Frame,
    cells: Sequence[ClassifiedCell],
    labels: Sequence[str],
    um_per_pixel: float | None,
    census: Census | None,
) -> tuple[Path | None, Path | None]:
    """Save what of a frame the run was asked to; returns both paths, None where it was not.

    Raises:
        DataError: one cannot be saved.
    """
    saved = kept = None
    if settings.save is not None:
        saved = save_picture(settings.save, run_id, frame, cells, labels, um_per_pixel, census)
    if settings.keep is not None and cells:
        kept = keep_picture(settings.keep, run_id, frame)
    return saved, kept


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
            "check its folder and the space on that disk; the results until then are kept",
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
