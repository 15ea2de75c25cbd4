"""Decode, resize, uint8 RGB or grey: the one function that training, calibration and device share.

The choices are part of a model and are recorded in its file by the name of `recipe`: EXIF
orientation honoured, alpha laid over white, grey repeated, 16 bit divided by 257 and
never stretched, the whole image resized to the input size without keeping its
proportions (as the paper does), by `qlvit_edge.resample`, whose bytes are the same on
every CPU; for networks of one channel then `luminance`, in integers too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import MAX_BYTES, REPLACE, read_pixels
from qlvit_edge.resample import resample

PREPROCESSING = "rgb8-squash-triangle-v1"
"""Name of the recipe for colour; whoever changes one byte of its result changes the name."""

GREY_PREPROCESSING = "grey8-squash-triangle-bt601-v1"
"""Name of the recipe for one channel: the same, then `luminance`."""

LUMINANCE = (19595, 38470, 7471)
"""Weights of red, green and blue in 65536ths: ITU-R BT.601's 0.299, 0.587 and 0.114."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""File names with these endings (in any case) are taken for images."""


def decode(source: Path | bytes, *, name: str | None = None) -> NDArray[np.uint8]:
    """Return the image in a JPEG, PNG, BMP or TIFF file as 8-bit RGB.

    Args:
        source: a file, or a file's bytes.
        name: what to call it in errors; the path where none is given.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: the file is missing, unreadable, empty, not an image, truncated,
            corrupt, or too large.
    """
    subject = name if name is not None else str(source) if isinstance(source, Path) else "image"
    content = read_file(source) if isinstance(source, Path) else source
    return to_rgb8(read_pixels(content, subject))


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
    stored = read_pixels(read_file(path), str(path))
    kinds.extend(unusual(stored))
    return to_rgb8(stored)


def unusual(stored: Any) -> list[str]:
    """Say what sets stored pixels apart from 8-bit RGB: ``"grey"``, ``"alpha"``, ``"16 bit"``."""
    kinds = []
    if stored.ndim == 2:
        kinds.append("grey")
    elif stored.shape[2] == 4:
        kinds.append("alpha")
    if stored.dtype.itemsize == 2:
        kinds.append("16 bit")
    return kinds


def note_on(kinds: Mapping[str, int]) -> str:
    """Say in one line which unusual images were met, by kind and count."""
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"note: among the images are {listed}; taken as 8-bit RGB"


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
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(path, f"cannot be read ({reason})", "check the file") from error


def to_rgb8(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Turn pixels as stored into 8-bit RGB, in integers alone.

    Args:
        pixels: (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA with straight alpha; uint8 or
            uint16.

    Returns:
        (H, W, 3) uint8 RGB: c·a + white·(1 − a) where there is alpha, then 16 bit
        divided by 257; both rounded half up.
    """
    if pixels.ndim == 2:
        values: NDArray[Any] = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    else:
        values = pixels[:, :, 2::-1]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        white = np.uint32(np.iinfo(pixels.dtype).max)
        alpha = pixels[:, :, 3:].astype(np.uint32)
        # At most white² + white/2, which is below 2³² for 16 bits too.
        over = values.astype(np.uint32) * alpha + white * (white - alpha)
        values = ((over + white // 2) // white).astype(pixels.dtype)
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.ascontiguousarray(values)
