"""Pictures as people hand them over: files, their bytes, Pillow's images, arrays, lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile.stored import upright
from qlvit_edge.preprocess import at_white_level, decode

_AS_STORED = frozenset({"L", "RGB", "RGBA", "I;16", "I;16L", "I;16B"})
"""Pillow's modes whose values are taken as they are."""

_CONVERTED = {"1": "L", "LA": "RGBA", "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB"}
_CONVERTED |= dict.fromkeys(("CMYK", "YCbCr", "HSV", "LAB"), "RGB")
_ORIENTATION = 0x0112
_ALONE = "give one image to classify, several as a list"
_REMEDY = "give (height, width, 3) RGB as uint8, or an image file"


class _PillowImage(Protocol):
    """What is asked of Pillow's images, which are taken without importing Pillow."""

    mode: str
    info: dict[str, Any]

    def convert(self, mode: str) -> Any: ...


def rgb8(picture: object) -> NDArray[np.uint8]:
    """Return a picture as (H, W, 3) uint8 RGB.

    Args:
        picture: path of an image file (``str`` or path-like), the bytes of one, an image of
            Pillow (turned upright as its EXIF data say), or values 0 to 255 (uint8) or 0 to
            65535 (uint16) as an array or nested lists: (H, W) or (H, W, 1) grey, (H, W, 3) RGB,
            (H, W, 4) RGB and alpha. Lists are of whole numbers 0 to 255. Grey is repeated, alpha
            laid over white, 16 bit divided by 257, or at the white level that is set.

    Raises:
        DataError: it is none of these, or the file cannot be decoded.
    """
    if isinstance(picture, str | os.PathLike):
        return decode(_path(picture))
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode(bytes(picture))
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(getattr(picture, "mode", None), str) and hasattr(picture, "convert"):
        return _from_pillow(picture)  # type: ignore[arg-type]
    if isinstance(picture, Sequence):
        return _from_lists(picture)
    if hasattr(picture, "__array_interface__") or hasattr(picture, "__array__"):
        return _from_array(_as_array(picture))
    raise DataError("image", f"it is of type {type(picture).__name__}", _REMEDY)


def several(pictures: object) -> Iterable[Any]:
    """Return pictures to be taken one by one.

    Raises:
        DataError: it is a single one, whose rows would be taken for pictures, or none at all.
    """
    if isinstance(pictures, str | bytes | bytearray | memoryview | os.PathLike):
        raise DataError("images", "it is one image", _ALONE)
    if _is_one(pictures):
        raise DataError("images", "it is one image, of rows and columns", _ALONE)
    if not isinstance(pictures, Iterable):
        raise DataError("images", f"it is of type {type(pictures).__name__}", _ALONE)
    return pictures


def _is_one(pictures: object) -> bool:
    """Whether numbers lie as in one grey image, or in one with its colours last."""
    sides: list[int] = []
    if isinstance(pictures, np.ndarray):
        sides += pictures.shape
    else:
        while isinstance(pictures, list | tuple) and pictures and len(sides) < 4:
            sides.append(len(pictures))
            pictures = pictures[0]
        if not isinstance(pictures, int):
            return False
    return len(sides) == 2 or (len(sides) == 3 and sides[2] in (1, 3, 4))


def _path(picture: str | os.PathLike[Any]) -> Path:
    name = os.fspath(picture)
    return Path(os.fsdecode(name))


def _from_array(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Check type and shape; RGB(A) becomes the BGR(A) that decoding gives."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        remedy = _REMEDY
        if values.ndim == 3 and values.shape[0] in (1, 3, 4):
            remedy = "its channels must come last: (height, width, 3)"
        elif values.ndim == 4:
            remedy = "give one image at a time, or several to classify_many"
        raise DataError("image", f"its shape is {values.shape}", remedy)
    if not values.size:
        raise DataError("image", f"it is empty, of shape {values.shape}", _REMEDY)
    if values.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        remedy = "give uint8 from 0 to 255, or uint16"
        if values.dtype.kind == "f":
            remedy = "floats have no agreed range: give uint8 from 0 to 255, or uint16"
        raise DataError("image", f"its values are {values.dtype}", remedy)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype == np.uint8 and values.shape[2:] == (3,):
        return np.ascontiguousarray(values)  # what comes of it below, in one step
    if values.ndim == 3:
        values = values[:, :, [2, 1, 0, 3][: values.shape[2]]]
    return at_white_level(values, "image")


def _from_lists(picture: Sequence[Any]) -> NDArray[np.uint8]:
    values = _as_array(picture)
    if values.dtype.kind not in "iu":
        raise DataError(
            "image", "its lists do not hold whole numbers of one shape", "give numbers 0 to 255"
        )
    if values.size and not (values.min() >= 0 and values.max() <= 255):
        raise DataError(
            "image", f"its numbers go from {values.min()} to {values.max()}", "give 0 to 255"
        )
    return _from_array(values.astype(np.uint8))


def _as_array(picture: Any) -> NDArray[Any]:
    try:
        return np.asarray(picture)
    except Exception as error:  # whatever a foreign object raises, and ragged lists
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DataError("image", f"it is no array of numbers ({reason})", _REMEDY) from error


def _from_pillow(picture: _PillowImage) -> NDArray[np.uint8]:
    """Take an image of Pillow; a file opened by it and the file itself give the same."""
    mode = picture.mode
    try:
        orientation = _orientation(picture)
        if mode == "P" or (mode in ("L", "RGB") and "transparency" in picture.info):
            mode = "RGBA" if "transparency" in picture.info else "RGB"
            picture = picture.convert(mode)
        while mode in _CONVERTED:  # Pillow knows no direct way from La
            mode = _CONVERTED[mode]
            picture = picture.convert(mode)
        if mode not in _AS_STORED:
            raise DataError(
                "image", f"it is of Pillow's mode {mode!r}", "convert it to RGB, or give the file"
            )
        values = np.asarray(picture)
    except DataError:
        raise
    except Exception as error:  # a file that is read only now, and is damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DataError("image", f"Pillow cannot read it ({reason})", "replace the file") from error
    return np.ascontiguousarray(upright(_from_array(values), orientation))


def _orientation(picture: Any) -> int:
    exif = picture.getexif() if hasattr(picture, "getexif") else {}
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
