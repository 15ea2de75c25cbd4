"""A sample's name, read from a barcode that lies before the camera."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError, MissingExtraError

_SUBJECT = "barcode"


def is_installed() -> bool:
    """Return whether barcodes can be read at all."""
    return find_spec("zxingcpp") is not None


def barcode_in(image: NDArray[np.uint8]) -> str:
    """Return what the one barcode in a picture says, of any usual kind.

    Args:
        image: (H, W, 3) uint8 RGB.

    Raises:
        MissingExtraError: what reads it is not installed.
        DataError: there is none, or there are several that differ.
    """
    if not is_installed():
        raise MissingExtraError(
            _SUBJECT,
            "needs zxing-cpp, which is not installed",
            "type the sample's ID, or pip install 'qlvit-edge[barcode]'",
        )
    import zxingcpp

    found = sorted({code.text.strip() for code in zxingcpp.read_barcodes(image)} - {""})
    if not found:
        raise DataError(
            _SUBJECT, "none is read in the picture", "bring it closer and sharper, or type the ID"
        )
    if len(found) > 1:
        raise DataError(
            _SUBJECT,
            f"{len(found)} are in the picture: {', '.join(map(repr, found[:3]))}",
            "show one of them alone, or type the ID",
        )
    return str(found[0])
