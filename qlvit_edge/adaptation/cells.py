"""The cells of another microscope: read from pictures of single cells, or cut out of fields.

A picture that does not decode is left out and counted: an unlabelled folder comes straight from a
microscope. What a cell is shown as is what `run` and `validate` would feed the network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.data.augment import Image
from qlvit_edge.data.choose import evenly
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import CachedImage, cached, cell_view, whole_view
from qlvit_edge.data.training_images import digest
from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import CROP_MARGIN, Cell, crop, find_cells
from qlvit_edge.imagefolder import said_of
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.preprocess import decode_noting, resize

Show = Literal["cells", "fields"]
"""What pictures show: one cell each, or fields of view."""

MOST_CELLS: Final = 1000
"""Unlabelled cells that are used of more, evenly chosen."""

_SURROUNDINGS: Final = 1.3
"""Kept around a cell of a field, as a share of its longer side, so that it can be turned."""

_SAMPLE: Final = 24
_LEAST_FIELD_SIDE: Final = 400
_FIELD_SHARE: Final = 0.45
_ABREAST: Final = 32


@dataclass(frozen=True)
class AdaptationCell:
    """One cell.

    Attributes:
        name: of its picture, relative; of a cell of a field with its number.
        picture: (H, W, 3) uint8, the picture of the cell alone.
        photograph: the same as training varies it.
        views: (2, h, w, channels) uint8, whole and cropped, as the network is fed.
        content: digest of the file's pixels, see `qlvit_edge.data.training_images`.
    """

    name: str
    picture: Image
    photograph: CachedImage
    views: NDArray[np.uint8]
    content: bytes

    @property
    def label(self) -> int:
        """Index of its class; below 0 where nobody said."""
        return self.photograph.label


@dataclass
class Cells:
    """What a folder gives.

    Attributes:
        cells: the cells.
        pictures: how many pictures were read.
        unread: what does not decode, by name, and why.
        empty: fields without a cell.
        kinds: a word for each unusual picture.
    """

    cells: list[AdaptationCell] = field(default_factory=list)
    pictures: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    empty: int = 0
    kinds: list[str] = field(default_factory=list)

    @property
    def views(self) -> NDArray[np.uint8]:
        """All views, (2, N, h, w, channels)."""
        return np.stack([cell.views for cell in self.cells], axis=1)

    @property
    def labels(self) -> NDArray[np.int64]:
        """All labels (N,)."""
        return np.array([cell.label for cell in self.cells], np.int64)

    @property
    def groups(self) -> list[str]:
        """The source of each cell, its content where nobody named one: copies are of one group."""
        return [cell.photograph.source or cell.content.hex() for cell in self.cells]

    @property
    def photographs(self) -> list[CachedImage]:
        """What training varies."""
        return [cell.photograph for cell in self.cells]


def read_cells(
    images: Sequence[LabelledImage], network: NetworkConfig, show: Show, advance: Callable[[], None]
) -> Cells:
    """Read pictures, on all cores.

    Args:
        images: the pictures; of the names and labels.
        network: whose input the views are for.
        show: what the pictures show; of fields every whole cell becomes one.
        advance: called once per picture, for a progress bar.
    """
    found = Cells()
    chosen = [images[index] for index in evenly(len(images), MOST_CELLS)]
    if show == "fields":  # enough cells may come of some of them: not of the first
        order = np.random.default_rng(0).permutation(len(chosen))
        chosen = [chosen[index] for index in order]
    for entry, image in _decoded(chosen, found, advance):
        found.pictures += 1
        content = digest(image)
        made = (
            _of_field(image, entry, content, network)
            if show == "fields"
            else [_of_picture(image, entry, content, network)]
        )
        found.empty += not made
        found.cells += made
        if len(found.cells) >= MOST_CELLS:
            break
    del found.cells[MOST_CELLS:]
    return found


def what_they_show(images: Sequence[LabelledImage]) -> Show:
    """Tell by a sample whether pictures show fields: large ones in which cells are small."""
    small_cells, several = [], []
    chosen = [images[index] for index in evenly(len(images), _SAMPLE)]
    for _, image in _decoded(chosen, Cells(), lambda: None):
        side = min(image.shape[:2])
        cells = find_cells(image) if side >= _LEAST_FIELD_SIDE else []
        longest = max((max(cell.width, cell.height) for cell in cells), default=side)
        small_cells.append(longest < _FIELD_SHARE * side)
        several.append(len(cells) > 1)
    votes = np.array([small or more for small, more in zip(small_cells, several, strict=True)])
    return "fields" if len(votes) and votes.mean() > 0.5 else "cells"


def _decoded(
    images: Sequence[LabelledImage], found: Cells, advance: Callable[[], None]
) -> Iterator[tuple[LabelledImage, Image]]:
    """Decode some at a time; note what does not."""

    def decode(entry: LabelledImage) -> Image | DataError:
        try:
            return decode_noting(entry.path, found.kinds)
        except DataError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(images), _ABREAST):
            some = images[start : start + _ABREAST]
            for entry, image in zip(some, pool.map(decode, some), strict=True):
                advance()
                if isinstance(image, DataError):
                    found.unread[entry.relative] = said_of(image, entry.path)
                else:
                    yield entry, image


def _of_picture(
    image: Image, entry: LabelledImage, content: bytes, network: NetworkConfig
) -> AdaptationCell:
    size, channels = network.input_size, network.channels
    photograph = cached(image, size, entry)
    views = [view(image, size, channels) for view in (whole_view, cell_view)]
    return AdaptationCell(entry.relative, image, photograph, np.stack(views), content)


def _of_field(
    image: Image, entry: LabelledImage, content: bytes, network: NetworkConfig
) -> list[AdaptationCell]:
    """Cut every whole cell out of a field, as `run` does."""
    made = []
    for number, cell in enumerate(found for found in find_cells(image) if not found.cut):
        picture = crop(image, cell, CROP_MARGIN)
        single = _of_picture(picture, entry, content, network)
        view = whole_view(picture, network.input_size, network.channels)
        made.append(
            replace(
                single,
                name=f"{entry.relative} cell {number + 1}",
                photograph=_surrounded(image, cell, single.photograph),
                views=np.stack([view, view]),
            )
        )
    return made


def _surrounded(image: Image, cell: Cell, photograph: CachedImage) -> CachedImage:
    """Return a photograph with more around its cell, at the same scale."""
    wide = crop(image, cell, _SURROUNDINGS)
    longer = max(cell.width, cell.height)
    scale = min(1.0, 2 * max(photograph.whole.shape[:2]) / wide.shape[0])
    side = max(1, round(scale * wide.shape[0]))
    return replace(
        photograph,
        image=resize(wide, (side, side)) if scale < 1 else wide,
        cell=(side / 2, side / 2, side * longer / wide.shape[0]),
    )
