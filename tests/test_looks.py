"""Augmentation for other microscopes: stain, optics, and where a cell is cut out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_run import cell_image

from qlvit_edge.choices import AUGMENT_PARTS, AugmentPart
from qlvit_edge.data import looks, optics, stains
from qlvit_edge.data.loader import CachedImage
from qlvit_edge.data.looks import SHARES, Looks
from qlvit_edge.resample import resample

SIZE = (48, 48)
NOTHING: Mapping[AugmentPart, float] = {**dict.fromkeys(AUGMENT_PARTS, 0.0), "look": 1.0}
PARTS = tuple(part for part in AUGMENT_PARTS if part != "look")


def photograph(
    pixels: NDArray[np.uint8], cell: tuple[float, float, float] | None = None, domain: str = ""
) -> CachedImage:
    return CachedImage(pixels, resample(pixels, (60, 60)), cell, 0, domain)


def views(image: CachedImage, count: int = 30, **shares: float) -> list[NDArray[np.uint8]]:
    """Views with no part but those named."""
    chosen: Any = {**NOTHING, **shares}
    varied = Looks([image], chosen)
    return [
        varied.view(0, SIZE, np.random.default_rng(seed), vary_look=True) for seed in range(count)
    ]


def density(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return -np.log((image.astype(float) + 0.5) / 256)


def test_no_change_of_stain_leaves_every_value_as_it_is() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(stains.apply(image, stains.IDENTITY), image)


def test_a_map_acts_on_optical_density() -> None:
    image = np.full((4, 4, 3), (200, 120, 60), np.uint8)
    mixing = np.array([[1.0, 0.2, 0.0], [0.0, 0.5, 0.0], [0.1, 0.0, 1.5]])
    offset = np.array([0.1, 0.0, -0.2])
    light = np.full((4, 4, 3), 0.05, np.float32)
    changed = stains.apply(image, stains.AffineMap(mixing, offset), light)
    wanted = 256 * np.exp(-(mixing @ density(image[0, 0]) + offset + 0.05)) - 0.5
    assert np.abs(changed[0, 0] - wanted).max() <= 0.51
    first = stains.AffineMap(mixing, offset)
    second = stains.AffineMap(np.diag([1.0, 2.0, 0.5]), np.array([0.0, 0.1, 0.0]))
    value = np.array([0.3, 0.4, 0.5])
    once = first.then(second)
    twice = second.matrix @ (first.matrix @ value + first.offset) + second.offset
    assert np.allclose(once.matrix @ value + once.offset, twice)


def test_a_transferred_stain_is_that_of_the_other_image() -> None:
    own, other = stains.stain_of(cell_image(1, 0)), stains.stain_of(cell_image(3, 1))
    moved = stains.transfer(own, other, 1.0)
    assert np.allclose(moved.matrix @ own.mean + moved.offset, other.mean)
    spread = moved.matrix @ own.covariance @ moved.matrix.T
    assert np.allclose(spread, other.covariance, rtol=1e-6)
    assert np.allclose(moved.matrix, moved.matrix.T)  # the optimal map
    still = stains.transfer(own, other, 0.0)
    assert np.allclose(still.matrix, np.eye(3))
    assert np.allclose(still.offset, 0)


def test_a_pale_image_is_not_stretched_beyond_the_limit() -> None:
    pale = stains.Stain(np.zeros(3), 1e-4 * np.eye(3))
    dark = stains.Stain(np.ones(3), np.eye(3))
    found = stains.transfer(pale, dark, 1.0)
    assert np.linalg.norm(found.matrix, 2) == pytest.approx(stains.LARGEST_GAIN)


def test_black_corners_are_no_stain() -> None:
    image = cell_image(1, 0)
    cornered = image.copy()
    cornered[:30, :40] = 0
    plain, found = stains.stain_of(image), stains.stain_of(cornered)
    assert np.abs(found.mean - plain.mean).max() < 0.1
    assert stains.stain_of(np.zeros((9, 9, 3), np.uint8)).mean == pytest.approx([6.238] * 3, 1e-3)


def test_light_falls_off_towards_one_side() -> None:
    image = np.full((40, 40, 3), 120, np.uint8)
    lit = stains.apply(image, stains.IDENTITY, optics.light_gradient((40, 40), 0.0, 0.2))
    assert abs(int(lit[0, -1, 0]) - 120 * 1.2) <= 1
    assert abs(int(lit[0, 0, 0]) - 120 * 0.8) <= 1
    assert np.array_equal(lit[0], lit[-1])


def test_colour_matrices_keep_grey_and_turn_colours() -> None:
    grey, red = np.array([90.0, 90, 90]), np.array([200.0, 10, 10])
    for matrix in (optics.saturation(-0.7), optics.saturation(0.7), optics.hue(0.6)):
        assert np.allclose(matrix @ grey, grey)
        assert not np.allclose(matrix @ red, red)
    assert np.allclose(np.ptp(optics.saturation(-1.0) @ red), 0)
    assert np.allclose(optics.hue(2 * math.pi / 3) @ red, [10, 200, 10])
    assert np.allclose(optics.hue(0.0), np.eye(3))


def test_contrast_stretches_each_channel() -> None:
    image = cell_image(1, 0)
    factors, offsets = optics.contrast(image, 1.0)
    wide = optics.recolour(image, np.diag(factors), offsets)
    assert wide.min((0, 1)).tolist() == [0, 0, 0]
    assert wide.max((0, 1)).tolist() == [255, 255, 255]
    factors, offsets = optics.contrast(image, 0.0)
    assert np.array_equal(optics.recolour(image, np.diag(factors), offsets), image)


def test_jpeg_keeps_colours_and_costs_detail() -> None:
    image = cell_image(0, 0)
    fine, coarse = optics.as_jpeg(image, 95), optics.as_jpeg(image, 20)
    assert np.abs(fine.mean((0, 1)) - image.mean((0, 1))).max() < 1
    worse, better = (np.abs(other.astype(int) - image).mean() for other in (coarse, fine))
    assert worse > better > 0


def test_lens_and_sensor_do_what_they_are_called() -> None:
    image = cell_image(1, 0)
    detail = np.abs(np.diff(image.astype(int), axis=1)).mean()
    for changed in (optics.defocus(image, 1.0), optics.lower_resolution(image, 0.5)):
        assert changed.shape == image.shape
        assert np.abs(np.diff(changed.astype(int), axis=1)).mean() < 0.7 * detail
    assert np.abs(np.diff(optics.sharpen(image, 1.0).astype(int), axis=1)).mean() > detail
    flat = np.full((64, 64, 3), 128, np.uint8)
    noisy = optics.add_noise(flat, 5.0, np.random.default_rng(0)).astype(int)
    assert np.std(noisy) == pytest.approx(5.0, rel=0.05)
    assert np.abs(np.diff(noisy, axis=2)).max() > 0
    assert np.ptp(optics.grey(image), axis=2).max() == 0


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_share_and_an_effect_of_its_own(part: AugmentPart) -> None:
    assert 0 < SHARES[part] <= 1
    red = photograph(cell_image(1, 0), (60.0, 45.0, 36.0), "one")
    images = [red, photograph(cell_image(0, 0), None, "two")]
    without, only = (Looks(images, {**NOTHING, part: share}) for share in (0.0, 1.0))

    def seen(varied: Looks, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        return varied.view(0, SIZE, rng, vary_look=True).tobytes()

    differ = [seed for seed in range(40) if seen(without, seed) != seen(only, seed)]
    assert len(differ) > 12


def test_without_parts_and_without_varying_no_colour_is_new() -> None:
    flat = photograph(np.full((90, 90, 3), (200, 60, 90), np.uint8), (45.0, 45.0, 30.0))
    for view in views(flat):
        assert np.array_equal(np.unique(view.reshape(-1, 3), axis=0), [[200, 60, 90]])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        plain = Looks([flat]).view(0, SIZE, rng, vary_look=False)
        assert np.array_equal(np.unique(plain.reshape(-1, 3), axis=0), [[200, 60, 90]])


def test_a_share_of_the_views_keeps_the_look_of_its_microscope() -> None:
    flat = photograph(np.full((90, 90, 3), (200, 60, 90), np.uint8), (45.0, 45.0, 30.0))
    kept = [np.ptp(view.reshape(-1, 3), axis=0).max() == 0 for view in views(flat, 200, noise=1.0)]
    assert not any(kept)
    kept = [
        np.ptp(view.reshape(-1, 3), axis=0).max() == 0
        for view in views(flat, 200, noise=1.0, look=SHARES["look"])
    ]
    assert 1 - SHARES["look"] - 0.1 < np.mean(kept) < 1 - SHARES["look"] + 0.1


def test_crops_show_from_the_cell_alone_to_twice_its_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extents: list[float] = []
    real = looks.geometry

    def noted(
        image: Any, centre: Any, extent: Any, *others: Any, any_angle: bool, **more: Any
    ) -> Any:
        if any_angle:
            extents.append(extent[0] / 20)
        return real(image, centre, extent, *others, any_angle=any_angle, **more)

    monkeypatch.setattr(looks, "geometry", noted)
    image = photograph(cell_image(1, 0), (60.0, 45.0, 20.0))
    views(image, 200, crop=1.0)
    assert 120 < len(extents) < 160
    low, high = looks.SIDES
    assert low <= min(extents) < low + 0.05
    assert high - 0.1 < max(extents) <= high


def test_neighbours_are_cut_off_beyond_a_tight_crop() -> None:
    pixels = np.full((120, 120, 3), 220, np.uint8)
    pixels[50:70, 50:70] = (90, 50, 160)
    pixels[52:68, 77:93] = (20, 200, 20)
    image = photograph(pixels, (60.0, 60.0, 20.0))

    def neighbours(found: list[NDArray[np.uint8]]) -> int:
        # A whole image shows the neighbour small; a crop shows a cell of 20 pixels large.
        crops = [view for view in found if (view[..., 2] < 190).mean() > 0.12]
        return sum(bool((view[..., 1] > view[..., 2].astype(int) + 60).any()) for view in crops)

    assert neighbours(views(image, 60, crop=1.0)) > 5
    assert neighbours(views(image, 60, crop=1.0, border=1.0)) == 0


def test_styles_are_drawn_from_every_domain_equally_often() -> None:
    many = [photograph(cell_image(1, seed), None, "one") for seed in range(9)]
    varied = Looks([*many, photograph(cell_image(0, 0), None, "two")], {**NOTHING, "style": 1.0})
    assert [len(domain) for domain in varied._others] == [9, 1]
    red = 0
    for seed in range(80):
        view = varied.view(0, SIZE, np.random.default_rng(seed), vary_look=True).astype(int)
        dark = view[view.sum(2) < 500]
        red += bool(len(dark) and (dark[:, 0] > dark[:, 2]).mean() > 0.5)
    assert 25 < red < 55


def test_a_view_depends_on_its_generator_alone() -> None:
    image = photograph(cell_image(1, 0), (60.0, 45.0, 36.0))
    varied = Looks([image])
    first, again, other = (
        varied.view(0, SIZE, np.random.default_rng(seed), vary_look=True) for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (*SIZE, 3)
    assert first.dtype == np.uint8


def test_the_page_gives_every_part_and_its_share() -> None:
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z]+)` \| ([0-9.]+) \|", page, re.MULTILINE))
    assert {part: float(share) for part, share in rows.items()} == dict(SHARES)
    assert list(SHARES) == list(AUGMENT_PARTS)
    low, high = looks.SIDES
    assert f"{low} to {high} times the cell's" in page
