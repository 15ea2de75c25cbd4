"""What is looked for in a frame, as a user writes it: ``--find``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from qlvit_edge.text import number_of

Kind = Literal["cells", "all", "bright", "none", "region"]
"""White cells; these, with red cells counted; bright cells on a dark ground; the
frame as a whole; a fixed part of it."""

WAYS: Final = "cells, all, bright, none or region:X,Y,W,H[um]"


@dataclass(frozen=True)
class Target:
    """What is looked for.

    Attributes:
        kind: which way.
        region: left, top, width and height of a fixed part; None of the other kinds.
        micrometres: whether these are in µm; else in pixels.
    """

    kind: Kind
    region: tuple[float, float, float, float] | None = None
    micrometres: bool = False

    def in_pixels(self, um_per_pixel: float | None) -> tuple[int, int, int, int]:
        """Return the region in whole pixels.

        Raises:
            ValueError: it is in µm and no scale is known, or it is not a pixel wide or high.
        """
        if self.region is None:
            raise ValueError(f"'{self.kind}' has no region")
        if self.micrometres and um_per_pixel is None:
            raise ValueError("a region in um needs a scale: name a --calibration, or use pixels")
        unit = um_per_pixel if self.micrometres and um_per_pixel is not None else 1.0
        x, y, width, height = (round(value / unit) for value in self.region)
        if width < 1 or height < 1:
            raise ValueError("the region is less than a pixel wide or high")
        return x, y, width, height


def target_of(text: str) -> Target:
    """Return what a text such as ``"cells"`` or ``"region:10,20,300,200"`` names.

    Raises:
        ValueError: it names nothing of the kind.
    """
    if text in get_args(Kind) and text != "region":
        return Target(text)  # type: ignore[arg-type]
    name, colon, rest = text.partition(":")
    if name != "region" or not colon:
        raise ValueError(f"'{text}' is none of {WAYS}")
    micrometres = rest.endswith("um")
    try:
        values = [number_of(part.strip()) for part in rest.removesuffix("um").split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise ValueError(
            f"'{text}': a region is four numbers, region:X,Y,W,H, in pixels, or with um"
        )
    x, y, width, height = values
    if x < 0 or y < 0 or width <= 0 or height <= 0:
        raise ValueError(f"'{text}': X and Y are at least 0, W and H above 0")
    if not micrometres and any(value != int(value) for value in values):
        raise ValueError(f"'{text}': pixels are whole numbers")
    return Target("region", (x, y, width, height), micrometres)
