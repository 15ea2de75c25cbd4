"""Show images, or the cells found in them, to whatever says where it finds a class.

The same decoding, cropping and order as `qlvit_edge.microscope.prediction`; an image that cannot
be read is an entry of its own, so that one damaged file does not end a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import Cell, crop, find_cells
from qlvit_edge.imagefolder import said_of, when_settled
from qlvit_edge.microscope.pipeline import require_colour
from qlvit_edge.microscope.prediction import NO_CELL
from qlvit_edge.preprocess import decode_noting

Pixels = NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True)
class Shown(Generic[T]):
    """What one image, or one cell of it, was explained by.

    Attributes:
        file: its path, as it was named.
        pixels: (H, W, 3) uint8 RGB, what the network was shown before resizing: the image, or the
            crop of the cell; None where the image cannot be read.
        found: what was said of it.
        number: of the cell in its image, from 1; None for a whole image.
        box: where the cell is.
        error: why the image cannot be read, or that it shows no cell.
        damaged: whether it cannot be read.
        kinds: what sets the file apart from 8-bit RGB; of its first entry only.
    """

    file: Path
    pixels: Pixels | None = None
    found: T | None = None
    number: int | None = None
    box: Cell | None = None
    error: str | None = None
    damaged: bool = False
    kinds: tuple[str, ...] = ()


def explanations(
    explain: Callable[[Pixels, bool], T],
    files: Iterable[Path],
    *,
    find: bool = False,
    cell_size: float | None = None,
) -> Iterator[Shown[T]]:
    """Show files one after the other; each is answered as soon as it is done.

    Args:
        explain: is given RGB pixels, and whether the edge of the image cuts the cell.
        files: image files.
        find: explain the crop of every found cell instead of the whole image.
        cell_size: diameter of a usual white cell as a share of the image's short side.

    Raises:
        DeviceError: the runtime failed.
    """
    for path in files:
        kinds: list[str] = []
        try:
            image = when_settled(path, partial(decode_noting, kinds=kinds))
            cells = _cells(image, path, cell_size) if find else []
        except DataError as error:
            yield Shown(path, error=said_of(error, path), damaged=True)
            continue
        said = tuple(kinds)
        if not find:
            yield Shown(path, image, explain(image, False), kinds=said)
        elif not cells:
            yield Shown(path, image, error=NO_CELL, kinds=said)
        for number, cell in enumerate(cells, start=1):
            shown = crop(image, cell)
            found = explain(shown, cell.cut)
            yield Shown(path, shown, found, number, cell, kinds=said if number == 1 else ())


def _cells(image: Pixels, path: Path, cell_size: float | None) -> list[Cell]:
    """The white cells of an image, the largest nucleus first.

    Raises:
        DataError: it is grey.
    """
    require_colour(image, path.name)
    return find_cells(image, cell_size=cell_size)
