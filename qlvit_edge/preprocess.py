"""Decode, resize, uint8 RGB: the one function that training, calibration and device share.

The choices are part of a model and are recorded in its file under `PREPROCESSING`: EXIF
orientation honoured, alpha laid over white, grey repeated, 16 bit divided by 257 and
never stretched, the whole image resized to the input size without keeping its
proportions (as the paper does), by `qlvit_edge.resample`, whose bytes are the same on
every CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import MAX_BYTES, REPLACE, read_pixels
from qlvit_edge.resample import resample

PREPROCESSING = "rgb8-squash-triangle-v1"
"""Name of this recipe; whoever changes one byte of its result changes the name."""

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


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to ``size`` = (height, width), antialiased and bit-exact.

    Raises:
        ValueError: the image is of another type or has an empty axis.
    """
    return resample(image, size)


def preprocess(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Turn a decoded image or a camera's crop into what the network is fed.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: (height, width) of the network's input.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: the image is of another type or has an empty axis.
    """
    return resize(image, size)


def load(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a file and preprocess it: (height, width, 3) uint8 RGB.

    Raises:
        DataError: see `decode`.
    """
    return preprocess(decode(path), size)


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
