"""Augmentation for microscopes that training has not seen.

A cell looks different elsewhere: another stain and lamp, another lens, camera and file format,
cut out more or less tightly. Each of these is a part with a share of the views that it is applied
to, and a strength that is drawn anew every time. What a part is worth is measured by leaving a
microscope out of training: `docs/unseen.md`. Everything is drawn from the generator that is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import AugmentPart
from qlvit_edge.data import optics, stains
from qlvit_edge.data.augment import CROP_SIDES, WHOLE_ZOOM, Image, geometry
from qlvit_edge.fields.finder import BEYOND, CROP_MARGIN

CROP_SHARE: Final = 0.7
SIDES: Final = (1.0, 2.2)
"""Side of a crop over the cell's longer side; drawn evenly in its logarithm."""

TIGHT: Final = (1.0, 1.4)
"""Side of what is kept of the image around a cell, where it is cut off; over the cell's."""

SHARES: Final[Mapping[AugmentPart, float]] = MappingProxyType(
    {
        "look": 0.7,  # any of what follows the geometry; the rest keep the look of their microscope
        "crop": 1.0,  # crops of any side in SIDES, not only in CROP_SIDES
        "border": 0.1,  # neighbours cut off: the border repeated beyond a tight crop
        "aspect": 0.2,  # stretched, as a box around the cell squashed to a square is
        "style": 0.25,  # the stain of another image, of any domain
        "stain": 0.9,  # stain strength, and what each stain absorbs where
        "light": 0.9,  # exposure and white balance
        "gamma": 0.3,
        "gradient": 0.3,  # light that falls off towards one side
        "contrast": 0.15,  # automatic contrast of each channel
        "saturation": 0.3,
        "hue": 0.3,
        "defocus": 0.3,
        "resolution": 0.2,
        "sharpening": 0.15,
        "noise": 0.2,
        "jpeg": 0.2,
        "grey": 0.03,
    }
)
"""Share of the views that each part is applied to."""


class Photograph(Protocol):
    """What is varied: a `CachedImage`."""

    @property
    def image(self) -> Image:
        """The image (H, W, 3)."""

    @property
    def whole(self) -> Image:
        """The same, squashed to a little more than the input size."""

    @property
    def cell(self) -> tuple[float, float, float] | None:
        """(centre x, centre y, side) of its cell in pixels of ``image``."""

    @property
    def domain(self) -> str:
        """Its microscope."""


class Looks:
    """Varies the images of a training as other microscopes would show them."""

    def __init__(
        self, images: Sequence[Photograph], shares: Mapping[AugmentPart, float] | None = None
    ) -> None:
        """Measure the stain of every image.

        Args:
            images: the training images.
            shares: in place of those in `SHARES`; 0 leaves a part out.
        """
        self.images = images
        self.shares = {**SHARES, **(shares or {})}
        self._own = [stains.stain_of(_surroundings(entry)) for entry in images]
        self._others = stains.stains_by_domain(self._own, [entry.domain for entry in images])

    def view(
        self, index: int, size: tuple[int, int], rng: np.random.Generator, *, vary_look: bool
    ) -> Image:
        """Return one view (height, width, 3) uint8 of an image.

        Args:
            index: of the image.
            size: (height, width) of the view.
            rng: source of randomness.
            vary_look: vary colour, focus and stain too, not only where and how it lies.
        """
        placed = self._placed(self.images[index], size, rng)
        if not (vary_look and self._happens("look", rng)):
            return placed
        return self._varied(placed, self._own[index], rng)

    def _happens(self, part: AugmentPart, rng: np.random.Generator) -> bool:
        return rng.random() < self.shares[part]

    def _placed(self, entry: Photograph, size: tuple[int, int], rng: np.random.Generator) -> Image:
        """Cut a view out of an image: around its cell, or all of it."""
        stretch = np.array([1.0, 1.0])
        if self._happens("aspect", rng):
            stretch = np.exp(rng.uniform(-0.1, 0.1) * np.array([1.0, -1.0]))
        if entry.cell is None or rng.random() >= CROP_SHARE:
            height, width = entry.whole.shape[:2]
            across, down = rng.uniform(*WHOLE_ZOOM) * stretch * (width, height)
            middle = ((width - 1) / 2, (height - 1) / 2)
            return geometry(entry.whole, middle, (across, down), size, rng, any_angle=False)
        x, y, cell = entry.cell
        sides = SIDES if self._happens("crop", rng) else CROP_SIDES
        image = entry.image
        if self._happens("border", rng):
            image, x, y = _cut_off(image, x, y, cell * rng.uniform(*TIGHT))
        across, down = cell * math.exp(rng.uniform(*np.log(sides))) * stretch
        # What `run` shows beyond the field, so that a cell at its edge looks alike in both.
        return geometry(image, (x, y), (across, down), size, rng, any_angle=True, beyond=BEYOND)

    def _varied(self, view: Image, own: stains.Stain, rng: np.random.Generator) -> Image:
        """Vary stain and light, then what lens, camera and file do, in this order."""
        light = None
        if self._happens("gradient", rng):
            angle, fall = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.25)
            light = optics.light_gradient(view.shape[:2], angle, fall)
        view = stains.apply(view, self._stain_and_light(own, rng), light)
        view = self._recoloured(self._focused(view, rng), rng)
        if self._happens("noise", rng):
            view = optics.add_noise(view, rng.uniform(1, 8), rng)
        if self._happens("jpeg", rng):
            view = optics.as_jpeg(view, int(rng.integers(25, 90)))
        return optics.grey(view) if self._happens("grey", rng) else view

    def _stain_and_light(self, own: stains.Stain, rng: np.random.Generator) -> stains.AffineMap:
        change = stains.IDENTITY
        if self._happens("style", rng):
            domain = self._others[rng.integers(len(self._others))]
            other = domain[rng.integers(len(domain))]
            change = stains.transfer(own, other, rng.uniform(0.3, 1.0))
        matrix, offset = np.eye(3), np.zeros(3)
        if self._happens("stain", rng):
            matrix = matrix * math.exp(rng.normal(0, 0.25)) + rng.normal(0, 0.08, (3, 3))
            matrix += np.diag(rng.normal(0, 0.12, 3))
        if self._happens("light", rng):
            offset = rng.normal(0, 0.10) + rng.normal(0, 0.09, 3)
        if self._happens("gamma", rng):  # a power of the value is a multiple of its density
            power = math.exp(rng.normal(0, 0.35))
            matrix, offset = power * matrix, power * offset
        return change.then(stains.AffineMap(matrix, offset))

    def _focused(self, view: Image, rng: np.random.Generator) -> Image:
        """Blurred, coarser, sharpened; strengths are of the view's height."""
        if self._happens("defocus", rng):
            view = optics.defocus(view, rng.uniform(0.3, 1.8) * view.shape[0] / 96)
        if self._happens("resolution", rng):
            view = optics.lower_resolution(view, rng.uniform(0.35, 0.9))
        if self._happens("sharpening", rng):
            view = optics.sharpen(view, rng.uniform(0, 1.5))
        return view

    def _recoloured(self, view: Image, rng: np.random.Generator) -> Image:
        """Contrast, saturation and hue as one colour matrix."""
        matrix, offset = np.eye(3), np.zeros(3)
        if self._happens("contrast", rng):
            factors, offset = optics.contrast(view, rng.uniform(0, 1))
            matrix = np.diag(factors)
        if self._happens("saturation", rng):
            turn = optics.saturation(rng.uniform(-0.7, 0.7))
            matrix, offset = turn @ matrix, turn @ offset
        if self._happens("hue", rng):
            turn = optics.hue(math.radians(rng.uniform(-36, 36)))
            matrix, offset = turn @ matrix, turn @ offset
        changed = not np.array_equal(matrix, np.eye(3))
        return optics.recolour(view, matrix, offset) if changed else view


def _surroundings(entry: Photograph) -> Image:
    """Return what the finder's crop shows of an image; all of it, where there is no cell."""
    if entry.cell is None:
        return entry.whole
    x, y, side = entry.cell
    return _cut_off(entry.image, x, y, side * (1 + CROP_MARGIN))[0]


def _cut_off(image: Image, x: float, y: float, side: float) -> tuple[Image, float, float]:
    """Return a square of an image around (x, y), without copying, and that point in it."""
    left, top = max(0, round(x - side / 2)), max(0, round(y - side / 2))
    square: NDArray[np.uint8] = image[top : round(y + side / 2), left : round(x + side / 2)]
    return square, x - left, y - top
