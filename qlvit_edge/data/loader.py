"""Images in memory and batches for training and evaluation.

Training decodes every image once. Each epoch shows it either whole, squashed to the input
size as the paper does, or as a crop around the white cell that the finder finds in it, as
`run` does: one network then serves both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import Balance
from qlvit_edge.data.ahead import ahead
from qlvit_edge.data.augment import (
    CROP_SIDES,
    WHOLE_ZOOM,
    Image,
    automatic,
    geometry,
    stain_jitter,
)
from qlvit_edge.data.chance import Drawn
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.image_store import ImageStore
from qlvit_edge.data.sampling import draws_twice, order
from qlvit_edge.fields.finder import BEYOND, crop, main_cell
from qlvit_edge.preprocess import decode, decode_noting, in_channels, preprocess, resize

# Kept in memory at up to this multiple of the input size: enough to cut a cell out of it.
_KEEP = 4
# The whole image is kept a little larger than the input, so that turning it loses nothing.
_WHOLE = 1.25
CROP_SHARE = 0.5

View = Callable[[Image, tuple[int, int], int], Image]
"""Makes of a decoded image, (height, width) and channels what a network is fed."""


@dataclass(frozen=True)
class CachedImage:
    """One training image, decoded.

    Attributes:
        image: (H, W, 3) uint8, at most `_KEEP` times the input size.
        whole: the image squashed to 1.25 times the input size.
        cell: (centre x, centre y, side) of its main cell in pixels, if any.
        label: index of its class.
        domain: its microscope; "" where nobody said.
        source: its photograph, slide or patient; "" where nobody said.
    """

    image: Image
    whole: Image
    cell: tuple[float, float, float] | None
    label: int
    domain: str = ""
    source: str = ""


def cache_images(
    images: Sequence[LabelledImage],
    size: tuple[int, int],
    advance: Callable[[], None],
    kinds: list[str],
    store: ImageStore | None = None,
) -> list[CachedImage]:
    """Decode training images and find their cells, on all cores.

    Args:
        images: the images.
        size: (height, width) of the network's input.
        advance: called once per image, for a progress bar.
        kinds: gets a word for each unusual image, see `qlvit_edge.preprocess.unusual`.
        store: where they are kept; None: in memory.

    Raises:
        DataError: an image does not decode, or the store's disk is full.
    """
    kept = store or ImageStore()

    def prepare(entry: LabelledImage) -> Callable[[], CachedImage]:
        found = kept.keep(cached(decode_noting(entry.path, kinds), size, entry))
        advance()
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            ready = list(pool.map(prepare, images))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # the others are not wanted any more
            kept.close()
            raise
    return [found() for found in ready]


def cached(image: Image, size: tuple[int, int], entry: LabelledImage) -> CachedImage:
    """Return a decoded image as training keeps it: not too large, its cell found.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) of the network's input.
        entry: whose class, microscope and source it has.
    """
    image = _at_most(image, (_KEEP * size[0], _KEEP * size[1]))
    whole = resize(image, (round(_WHOLE * size[0]), round(_WHOLE * size[1])))
    found = main_cell(image)
    cell = None
    if found is not None:
        cell = (
            found.x + found.width / 2,
            found.y + found.height / 2,
            float(max(found.width, found.height)),
        )
    return CachedImage(image, whole, cell, entry.label, entry.domain, entry.source)


def check_images(
    images: Sequence[LabelledImage], advance: Callable[[], None], kinds: list[str]
) -> None:
    """Decode images that are needed later only, so that a damaged one is found out now.

    Args:
        images: the images.
        advance: called once per image, for a progress bar.
        kinds: gets a word for each unusual image, see `qlvit_edge.preprocess.unusual`.

    Raises:
        DataError: an image does not decode.
    """

    def check(entry: LabelledImage) -> None:
        decode_noting(entry.path, kinds)
        advance()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(check, images):
            pass


def augmented(
    entry: CachedImage, size: tuple[int, int], rng: np.random.Generator, *, vary_look: bool
) -> Image:
    """Return one augmented view (height, width, 3) uint8 of a cached image.

    Args:
        entry: the image.
        size: (height, width) of the view.
        rng: source of randomness.
        vary_look: vary colour, focus and stain too, not only where and how it lies.
    """
    if entry.cell is not None and rng.random() < CROP_SHARE:
        x, y, side = entry.cell
        side *= float(np.exp(rng.uniform(*np.log(CROP_SIDES))))
        # What `run` shows beyond the field, so that a cell at its edge looks alike in both.
        view = geometry(
            *(entry.image, (x, y), (side, side), size, rng), any_angle=True, beyond=BEYOND
        )
    else:
        height, width = entry.whole.shape[:2]
        zoom = rng.uniform(*WHOLE_ZOOM)
        centre = ((width - 1) / 2, (height - 1) / 2)
        extent = (width * zoom, height * zoom)
        view = geometry(entry.whole, centre, extent, size, rng, any_angle=False)
    if not vary_look:
        return view
    view = automatic(view, rng)
    if rng.random() < 0.8:
        view = stain_jitter(view, rng)
    return view


class Augmentation(Protocol):
    """What makes a view of an image; may be called in several threads."""

    def view(
        self, index: int, size: tuple[int, int], rng: np.random.Generator, *, vary_look: bool
    ) -> Image:
        """Return one view of the image of that index."""


class Standard:
    """Varies images as their own microscope may show them, see `augmented`."""

    def __init__(self, images: Sequence[CachedImage]) -> None:
        """Vary ``images``."""
        self.images = images

    def view(
        self, index: int, size: tuple[int, int], rng: np.random.Generator, *, vary_look: bool
    ) -> Image:
        """Return one view of the image of that index."""
        return augmented(self.images[index], size, rng, vary_look=vary_look)


class Unvaried:
    """Shows the whole images a little larger than the input, to be varied as tensors later."""

    def __init__(self, images: Sequence[CachedImage]) -> None:
        """Show ``images``."""
        self.images = images

    def view(
        self, index: int, size: tuple[int, int], rng: np.random.Generator, *, vary_look: bool
    ) -> Image:
        """Return the whole image of that index, 1.25 times ``size``."""
        return self.images[index].whole


def drawn_batches(
    cached: Sequence[CachedImage],
    batch: int,
    seed: int,
    epoch: int,
    balance: Balance = "none",
    count: int | None = None,
) -> Iterator[Drawn]:
    """Yield which images the batches of an epoch show; arguments as of `training_batches`."""
    chosen = order(cached, balance, count, np.random.default_rng([seed, epoch]))
    for start in range(0, len(chosen), batch):
        indices = chosen[start : start + batch]
        if len(indices) == 1 and len(chosen) > 1:
            return
        yield Drawn(seed, epoch, indices, np.arange(start, start + len(indices)))


def training_batches(
    cached: Sequence[CachedImage],
    size: tuple[int, int],
    batch: int,
    seed: int,
    epoch: int,
    *,
    channels: int = 3,
    vary_look: bool = True,
    balance: Balance = "none",
    count: int | None = None,
    augmentation: Augmentation | None = None,
    threads: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield shuffled batches of one epoch: images (B, h, w, channels) uint8 and labels (B,).

    The same seed and epoch give the same batches. A last batch of one image is dropped
    (BatchNorm cannot normalise it). Views for one channel are varied in colour first, as
    stains and lamps vary, and turned grey last. Which images are drawn is said in
    `qlvit_edge.data.sampling.order`.

    Args:
        cached: the training images.
        size: (height, width) of the views.
        batch: images in each but the last.
        seed: of the run.
        epoch: from 0.
        channels: of the views.
        vary_look: vary colour, focus and stain too.
        balance: what is drawn equally often.
        count: images of the epoch; None: as many as there are.
        augmentation: what varies ``cached``; None: `Standard`.
        threads: that prepare the next batches in the background, see `qlvit_edge.data.ahead`.
        share: which part of every batch is yielded, and of how many, see `Drawn.part`.
    """
    varied = augmentation or Standard(cached)
    # Drawn twice, an image is varied twice.
    may_repeat = draws_twice(balance, count, len(cached))

    def made(drawn: Drawn) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        views = [
            varied.view(
                index,
                size,
                np.random.default_rng([seed, epoch, index, *([place] if may_repeat else [])]),
                vary_look=vary_look,
            )
            for index, place in zip(drawn.images.tolist(), drawn.places.tolist(), strict=True)
        ]
        labels = np.array([cached[index].label for index in drawn.images], np.int64)
        stacked = np.stack(views) if views else np.empty((0, *size, 3), np.uint8)
        return in_channels(stacked, channels), labels

    batches = drawn_batches(cached, batch, seed, epoch, balance, count)
    yield from ahead((partial(made, drawn.part(*share)) for drawn in batches), threads)


def whole_view(image: Image, size: tuple[int, int], channels: int = 3) -> Image:
    """Return the whole image at the input size, as the paper evaluates."""
    return preprocess(image, size, channels)


def cell_view(image: Image, size: tuple[int, int], channels: int = 3) -> Image:
    """Return the crop around the main cell as `run` feeds it; the whole image if none."""
    cell = main_cell(image)
    return preprocess(image if cell is None else crop(image, cell), size, channels)


def evaluation_batches(
    images: Sequence[LabelledImage],
    size: tuple[int, int],
    batch: int,
    view: View = whole_view,
    channels: int = 3,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield batches in order, (B, h, w, channels), preprocessed exactly as on the device.

    Raises:
        DataError: an image does not decode.
    """

    def prepare(entry: LabelledImage) -> Image:
        return view(decode(entry.path), size, channels)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        upcoming = pool.map(prepare, images[:batch])
        for start in range(0, len(images), batch):
            views = np.stack(list(upcoming))
            # The next batch is decoded while the caller works on this one.
            upcoming = pool.map(prepare, images[start + batch : start + 2 * batch])
            yield views, np.array([entry.label for entry in images[start : start + batch]])


def _at_most(image: Image, size: tuple[int, int]) -> Image:
    shrink = min(1.0, size[0] / image.shape[0], size[1] / image.shape[1])
    if shrink == 1.0:
        return image
    return resize(image, (round(image.shape[0] * shrink), round(image.shape[1] * shrink)))
