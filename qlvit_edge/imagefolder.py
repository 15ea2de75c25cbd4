"""Folders of images as laboratories have them: what is passed over, and images still arriving.

What a folder means (fields of view, classes) is for `qlvit_edge.camera.folder` and
`qlvit_edge.data.folder`; this is what the two share.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qlvit_edge.errors import DataError, QLViTEdgeError
from qlvit_edge.imagefile import REPLACE
from qlvit_edge.preprocess import IMAGE_SUFFIXES
from qlvit_edge.text import plain

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""A damaged image that was written to within this time may be half a copy: it is read again."""

LONGEST_WAIT = 30.0
"""An image that still does not decode after this time is damaged, though it still changes."""

_AGAIN_SECONDS = 0.1
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """A kind of file or folder that is passed over.

    Attributes:
        one: what one is called, with its article.
        many: what several are called.
        remedy: what the user can do, of one or many; "" where nothing needs doing.
    """

    one: str
    many: str
    remedy: str


def _convert(name: str, remedy: str = "convert to PNG or JPEG") -> Kind:
    article = "an" if name[0] in "AEIOaeio" else "a"
    return Kind(f"{article} {name} image", f"{name} images", remedy)


VIDEO = Kind("a video", "videos", "`run` takes one as --camera VIDEO")
HIDDEN = Kind("a hidden image", "hidden images", "rename without the dot to use")
HIDDEN_FOLDER = Kind("a hidden folder", "hidden folders", "rename without the dot to use")
LOOSE = Kind("an image in no class folder", "images in no class folder", "move into a class folder")
NESTED = Kind(
    "a folder inside a class",
    "folders inside a class",
    "move the images up into the class's folder",
)
SEEN = Kind("a folder met before", "folders met before", "links to one folder count once")
DEAD_LINK = Kind("a link to nothing", "links to nothing", "mend or remove")
NO_FILE = Kind("a name that is no file", "names that are no files", "remove")
MISNAMED = Kind(
    "an image without a usual ending",
    "images without a usual ending",
    "rename with .jpg, .png, .bmp or .tif",
)
OTHER = Kind("another file", "other files", "")

_MICROSCOPE = Kind(
    "a microscope program's file",
    "files of a microscope's program",
    "export as TIFF or PNG there",
)
_SLIDE = Kind("a whole-slide image", "whole-slide images", "export fields of view as PNG or TIFF")
_RAW = Kind("a camera's raw image", "raw images of a camera", "develop to TIFF or PNG")
_DRAWING = Kind("a drawing or document", "drawings or documents", "export its images as PNG")
_ARCHIVE = Kind("an archive", "archives", "unpack first")
_ARRAY = Kind("a data file", "data files", "write the images as PNG or TIFF")
_JPEG = Kind("a JPEG by another ending", "JPEGs by another ending", "rename to .jpg")

_KINDS: dict[Kind, str] = {
    _convert("WebP"): "webp",
    _convert("HEIC"): "heic heif hif",
    _convert("AVIF"): "avif avifs",
    _convert("GIF"): "gif",
    _convert("JPEG 2000"): "jp2 j2k jpf jpx j2c jpc",
    _convert("JPEG XL"): "jxl",
    _convert("PNM"): "pbm pgm ppm pnm pam",
    _convert("old"): "tga pcx ico psd xcf exr hdr dds",
    _JPEG: "jfif jpe jif pjpeg pjp",
    _MICROSCOPE: "czi lif lof xlif nd2 oib oif oir vsi ets lsm ims zvi stk flex mvd2 dv r3d",
    _SLIDE: "svs ndpi ndpis mrxs scn bif vms vmu isyntax dcm dicom zarr",
    _RAW: "cr2 cr3 nef nrw arw dng orf rw2 raf pef raw",
    _DRAWING: "svg pdf ai eps ps doc docx ppt pptx odt odp",
    _ARCHIVE: "zip tar gz tgz bz2 xz 7z rar",
    _ARRAY: "npy npz h5 hdf5 mat parquet fits tfrecord",
    VIDEO: "mp4 avi mkv mov m4v webm wmv mpg mpeg mts ts mjpg mjpeg",
}
_BY_ENDING = {f".{ending}": kind for kind, endings in _KINDS.items() for ending in endings.split()}
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")


@dataclass(frozen=True)
class PassedOver:
    """Something in a folder that is not used.

    Attributes:
        name: relative to the folder.
        kind: what it is.
    """

    name: str
    kind: Kind


def foreign_kind(name: str) -> Kind | None:
    """Return what a file is by its ending, if that is a kind of image that is not read."""
    return _BY_ENDING.get(Path(name).suffix.lower())


def begins_as_image(path: Path) -> bool:
    """Tell whether a file begins as a JPEG, PNG, BMP or TIFF does, whatever its name."""
    try:
        with path.open("rb") as stream:
            return stream.read(8).startswith(_MAGICS)
    except OSError:
        return False


def kind_of(path: Path) -> Kind | None:
    """Return why an entry of a folder is passed over; None for an image and for a folder.

    Links are followed.
    """
    hidden = path.name.startswith(".")
    image = path.suffix.lower() in IMAGE_SUFFIXES
    try:
        if path.is_dir():
            return HIDDEN_FOLDER if hidden else None
        if not path.exists():
            return DEAD_LINK
        if not path.is_file():
            return NO_FILE
    except OSError:  # links that lead in a circle
        return DEAD_LINK
    if hidden:
        return HIDDEN if image else OTHER
    if image:
        return None
    return foreign_kind(path.name) or (MISNAMED if begins_as_image(path) else OTHER)


def is_clutter(path: Path) -> bool:
    """Tell whether an entry is what systems leave behind, not worth a word."""
    name = path.name
    return name.startswith("._") or (name.startswith(".") and path.suffix not in IMAGE_SUFFIXES)


def notes_on(passed_over: Iterable[PassedOver]) -> list[str]:
    """Say what was passed over, one line for each kind, with the remedy."""
    names: dict[Kind, list[str]] = {}
    for entry in passed_over:
        names.setdefault(entry.kind, []).append(entry.name)
    return [
        f"passed over: {summary(kind, found)}{f'; {kind.remedy}' if kind.remedy else ''}"
        for kind, found in names.items()
    ]


def summary(kind: Kind, names: list[str]) -> str:
    """Return e.g. ``"2 WebP images (a/1.webp, a/2.webp)"``."""
    shown = ", ".join(plain(name) for name in names[:_NAMES_SHOWN])
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    counted = kind.one if len(names) == 1 else f"{len(names)} {kind.many}"
    return f"{counted} ({shown}{more})"


def nfc(name: str) -> str:
    """Return a name as it is compared: é is one character, however a system stored it."""
    return unicodedata.normalize("NFC", name)


def when_settled(path: Path, read: Callable[[Path], T]) -> T:
    """Read an image; one that may still be on its way is read again until it is quiet.

    Args:
        path: the image.
        read: decodes it.

    Raises:
        DataError: what ``read`` raised last, when the file has not changed for
            `QUIET_SECONDS` or after `LONGEST_WAIT`.
    """
    deadline = time.monotonic() + LONGEST_WAIT
    while True:
        before = _state(path)
        try:
            return read(path)
        except DataError:
            after = _state(path)
            young = after is not None and 0 <= time.time() - after[1] / 1e9 < QUIET_SECONDS
            if (before == after and not young) or time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_SECONDS)


def _state(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of the last change in nanoseconds since 1970."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def finding_in(error: QLViTEdgeError, *subjects: str) -> str:
    """Return the middle of "subject: finding; remedy"."""
    text = str(error)
    for subject in subjects:
        text = text.removeprefix(f"{subject}: ")
    return text.rpartition("; ")[0]


def said_of(error: QLViTEdgeError, path: Path) -> str:
    """Return what an error says of an image, without its name.

    That a damaged one may be replaced goes without saying; other remedies stay.
    """
    return str(error).removeprefix(f"{path}: ").removesuffix(f"; {REPLACE}")
