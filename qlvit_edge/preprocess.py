"""Decode, resize, uint8 RGB or grey: the one function that training, calibration and device share.

The choices are part of a model and are recorded in its file by the name of `recipe`: EXIF
orientation honoured, alpha laid over white, grey repeated, 16 bit divided by 257 (or scaled by
the white level that the user gives) and never stretched, the whole image resized to the
input size without keeping its proportions (as the paper does), by `qlvit_edge.resample`,
whose bytes are the same on every CPU; for networks of one channel then `luminance`, in
integers too.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import MAX_BYTES, REPLACE, Stored, read, read_header
from qlvit_edge.interruption import held_back
from qlvit_edge.resample import resample

PREPROCESSING = "rgb8-squash-triangle-v1"
"""Name of the recipe for colour; whoever changes one byte of its result changes the name."""

GREY_PREPROCESSING = "grey8-squash-triangle-bt601-v1"
"""Name of the recipe for one channel: the same, then `luminance`."""

LUMINANCE = (19595, 38470, 7471)
"""Weights of red, green and blue in 65536ths: ITU-R BT.601's 0.299, 0.587 and 0.114."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""File names with these endings (in any case) are taken for images."""


FULL_SCALE = 65535
"""The white level of 16-bit images of which nothing else is known."""

_DEPTHS = (8, 10, 12, 14)  # of cameras that store their values in 16 bits
_BAND = 1 << 18  # pixels turned into 8-bit RGB at a time
_LARGE = 4_000_000  # pixels from which on images are decoded one at a time

_one_large = threading.Lock()
_white_level: int | None = None


def set_white_level(level: int | None) -> None:
    """Say which value of 16-bit images is white, for every image decoded from now on.

    It belongs to the camera that made the images, not to the network: what is trained on
    images of 12 bits may run on those of 8. It is one for the whole process because a
    command reads the images of one source; None stands for 65535.

    Raises:
        ValueError: not between 1 and 65535.
    """
    global _white_level
    if level is not None and not 1 <= level <= FULL_SCALE:
        raise ValueError(f"a white level is between 1 and {FULL_SCALE}, not {level}")
    _white_level = level


def white_level() -> int | None:
    """Return what `set_white_level` was told last."""
    return _white_level


def decode(source: Path | bytes, *, name: str | None = None) -> NDArray[np.uint8]:
    """Return the image in a JPEG, PNG, BMP or TIFF file as 8-bit RGB.

    Args:
        source: a file, or a file's bytes.
        name: what to call it in errors; the path where none is given.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: the file is missing, unreadable, empty, not an image, truncated,
            corrupt, too large, or brighter than the white level.
    """
    subject = name if name is not None else str(source) if isinstance(source, Path) else "image"
    content = read_file(source) if isinstance(source, Path) else source
    return decode_stored(content, subject)[0]


def decode_noting(path: Path, kinds: list[str]) -> NDArray[np.uint8]:
    """Decode an image as `decode` does and note what is unusual about it.

    Args:
        path: the file.
        kinds: gets the words of `unusual` appended; threads may share it.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: see `decode`.
    """
    image, found = decode_stored(read_file(path), str(path))
    kinds.extend(found)
    return image


def decode_stored(content: bytes, name: str) -> tuple[NDArray[np.uint8], list[str]]:
    """Decode a file's bytes: (H, W, 3) uint8 RGB, and the words of `unusual`.

    Large images are decoded one at a time, whatever the number of threads.

    Raises:
        DataError: see `decode`.
    """
    with _turn(content, name):
        stored = read(content, name)
        return at_white_level(stored.pixels, name), unusual(stored)


def at_white_level(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Turn pixels as stored into 8-bit RGB as `to_rgb8` does, at the white level that was set.

    Raises:
        DataError: some are brighter than the white level.
    """
    level = _white_level
    if pixels.dtype == np.uint16 and level is not None:
        brightest = _brightest(pixels)
        if brightest > level:
            raise DataError(
                name,
                f"holds values up to {brightest}, above the white level {level}",
                "give the camera's highest value as --white-level",
            )
    return to_rgb8(pixels, level or FULL_SCALE)


@contextlib.contextmanager
def _turn(content: bytes, name: str) -> Iterator[None]:
    header = read_header(content, name)
    if header.width * header.height < _LARGE:
        yield
        return
    with _one_large:
        yield


def unusual(stored: Stored) -> list[str]:
    """Say what sets a file apart from 8-bit RGB that fills its range.

    Such as ``"grey"``, ``"alpha"``, ``"16 bit"``, ``"16 bit, white at 4095"``, and what
    `qlvit_edge.imagefile.Stored` notes.
    """
    kinds, pixels = list(stored.notes), stored.pixels
    if pixels.ndim == 2:
        kinds.append("grey")
    elif pixels.shape[2] == 4:
        kinds.append("alpha")
    if pixels.dtype == np.uint16:
        if _white_level is None:
            kinds += ["16 bit", *_nearly_black(_brightest(pixels))]
        else:
            kinds.append(f"16 bit, white at {_white_level}")
    return kinds


def _brightest(pixels: NDArray[Any]) -> int:
    """Return the highest value of any colour; alpha does not count."""
    return int((pixels if pixels.ndim == 2 else pixels[:, :, :3]).max())


def _nearly_black(brightest: int) -> list[str]:
    """Say with its remedy that an image of 16 bits uses no more than a camera of fewer has."""
    for bits in _DEPTHS:
        most = (1 << bits) - 1
        if 0 < brightest <= most:
            return [
                f"nearly black (no value above {most} of {FULL_SCALE}; if the camera has {bits} "
                f"bits, add --white-level {most})"
            ]
    return []


def note_on(kinds: Mapping[str, int], channels: int) -> str:
    """Say in one line which unusual images were met, by kind and count.

    Args:
        kinds: how many images there are, by a word of `unusual`.
        channels: that a network reads them in: 3, or 1 for grey.
    """
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (
        f"note: among the images are {listed}; taken as 8-bit {'RGB' if channels == 3 else 'grey'}"
    )


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to ``size`` = (height, width), antialiased and bit-exact.

    Raises:
        ValueError: the image is of another type or has an empty axis.
    """
    return resample(image, size)


def recipe(channels: int) -> str:
    """Return the name of what `preprocess` does for a network of so many channels, 1 or 3."""
    return {1: GREY_PREPROCESSING, 3: PREPROCESSING}[channels]


def preprocess(
    image: NDArray[np.uint8], size: tuple[int, int], channels: int = 3
) -> NDArray[np.uint8]:
    """Turn a decoded image or a camera's crop into what the network is fed.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: (height, width) of the network's input.
        channels: its channels, 3 for RGB or 1 for grey.

    Returns:
        (height, width, channels) uint8.

    Raises:
        ValueError: the image is of another type or has an empty axis.
    """
    return in_channels(resize(image, size), channels)


def in_channels(image: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return (…, H, W, 3) uint8 RGB as (…, H, W, channels): itself, or its luminance.

    Raises:
        ValueError: ``channels`` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"images have 1 or 3 channels, not {channels}")
    return image if channels == 3 else luminance(image)


def luminance(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn (…, 3) uint8 RGB into (…, 1) uint8 grey, rounded half up, in integers alone.

    Pixels that are grey already (red = green = blue) keep their value: the weights sum to
    one. libjpeg and Pillow use the same weights and rounding.
    """
    red, green, blue = (image[..., index].astype(np.uint32) for index in range(3))
    weighted = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    return ((weighted + 32768) >> 16).astype(np.uint8)[..., np.newaxis]


def load(path: Path, size: tuple[int, int], channels: int = 3) -> NDArray[np.uint8]:
    """Read a file and preprocess it: (height, width, channels) uint8.

    Raises:
        DataError: see `decode`.
    """
    return preprocess(decode(path), size, channels)


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        DataError: missing, a folder or a device, unreadable, or larger than `MAX_BYTES`.
    """
    try:
        if not path.is_file():
            finding = "not a file" if path.exists() else "no such file"
            raise DataError(path, finding, "name an image file")
        if path.stat().st_size > MAX_BYTES:
            raise DataError(path, f"larger than {MAX_BYTES >> 20} MiB", REPLACE)
        with held_back():
            return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(path, f"cannot be read ({reason})", "check the file") from error


def to_rgb8(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], white_at: int = FULL_SCALE
) -> NDArray[np.uint8]:
    """Turn pixels as stored into 8-bit RGB, in integers alone.

    Args:
        pixels: (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA with straight alpha; uint8 or
            uint16.
        white_at: the value of uint16 pixels that is white; none is greater.

    Returns:
        (H, W, 3) uint8 RGB: c·a + white·(1 − a) where there is alpha, then 16 bit
        times 255 / ``white_at``; both rounded half up.
    """
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    step = max(1, _BAND // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), step):
        result[top : top + step] = _band_to_rgb8(pixels[top : top + step], white_at)
    return result


def _band_to_rgb8(pixels: NDArray[Any], white_at: int) -> NDArray[Any]:
    values = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels[:, :, 2::-1]
    deep = pixels.dtype == np.uint16
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        # At most 65535² + 65535/2, which is below 2³² for 16 bits too.
        top = np.uint32(np.iinfo(pixels.dtype).max)
        white = np.uint32(white_at if deep else 255)
        alpha = pixels[:, :, 3:].astype(np.uint32)
        values = (values.astype(np.uint32) * alpha + white * (top - alpha) + top // 2) // top
    if deep:
        values = (values.astype(np.uint32) * 255 + np.uint32(white_at // 2)) // np.uint32(white_at)
    return values
