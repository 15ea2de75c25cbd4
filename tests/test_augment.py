"""Augmentation: views of the right size, repeatable, and nothing turned that should not be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from small_run import CLASSES, cell_image, write_folder

from qlvit_edge.data import augment, loader
from qlvit_edge.data.augment import AUTOMATIC, automatic, geometry, stain_jitter
from qlvit_edge.data.folder import scan
from qlvit_edge.data.loader import (
    CROP_SHARE,
    CachedImage,
    augmented,
    cache_images,
    training_batches,
)
from qlvit_edge.fields.finder import Cell, crop
from qlvit_edge.resample import resample

SIZE = (48, 64)


class Chosen:
    """Stands for a generator that draws what a test chose."""

    def __init__(self, angle: float = 0.0, quarters: int = 0, flip: float = 1.0) -> None:
        self.angle, self.quarters, self.flip = angle, quarters, flip

    def uniform(self, low: float, high: float, count: int | None = None) -> Any:
        if count is not None:
            return np.zeros(count)
        assert low <= self.angle <= high
        return self.angle

    def integers(self, count: int) -> int:
        return self.quarters

    def choice(self, options: Sequence[float]) -> float:
        assert self.flip in options
        return self.flip


def _cut(image: NDArray[np.uint8], chosen: Chosen) -> NDArray[np.uint8]:
    """Cut the whole image at its own size."""
    height, width = image.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    rng: Any = chosen
    return geometry(image, middle, (width, height), (height, width), rng, any_angle=False)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> list[CachedImage]:
    """Images of one cell each; the finder takes the red ones for no white cell."""
    folder = scan(write_folder(tmp_path_factory.mktemp("data") / "cells", 3))
    return cache_images(folder.images, SIZE, lambda: None, [])


def test_geometry_with_nothing_drawn_is_the_image() -> None:
    image = cell_image(0, 0)
    assert np.array_equal(_cut(image, Chosen()), image)


def test_geometry_mirrors_and_turns_by_quarters_exactly() -> None:
    image = cell_image(1, 0)[:, :90]
    assert np.array_equal(_cut(image, Chosen(flip=-1.0)), image[:, ::-1])
    assert np.array_equal(_cut(image, Chosen(quarters=2)), image[::-1, ::-1])
    turned = _cut(image, Chosen(quarters=1))
    assert any(np.array_equal(turned, np.rot90(image, k)) for k in (1, 3))


def test_geometry_cuts_where_it_is_told() -> None:
    image = cell_image(2, 0)
    rng: Any = Chosen()
    view = geometry(image, (49.5, 39.5), (20, 20), (20, 20), rng, any_angle=True)
    assert np.array_equal(view, image[30:50, 40:60])


def test_geometry_turns_a_whole_field_by_15_degrees_at_most() -> None:
    image = cell_image(0, 0)
    turned = _cut(image, Chosen(angle=15.0))
    assert not np.array_equal(turned, image)
    with pytest.raises(AssertionError):
        _cut(image, Chosen(angle=15.1))


@pytest.mark.parametrize("operation", AUTOMATIC, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("strength", [-0.6, 0.0, 0.6])
def test_automatic_operations_keep_shape_and_type(operation: Any, strength: float) -> None:
    for image in (cell_image(0, 0), np.zeros((9, 7, 3), np.uint8), np.full((9, 7, 3), 255, "u1")):
        before = image.copy()
        changed = operation(image, strength)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(image, before)
        if strength == 0 and operation is not augment._focus:
            # Hue goes through OpenCV's 8-bit HSV, whose steps are coarse.
            largest = 6 if operation is augment._hue else 1
            assert np.abs(changed.astype(int) - image).max() <= largest


def test_stain_jitter_keeps_a_cell_a_cell() -> None:
    image = cell_image(0, 0)
    for seed in range(20):
        changed = stain_jitter(image, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert changed[0, 0].mean() > changed[45, 60].mean()


def test_automatic_draws_every_operation() -> None:
    image = cell_image(0, 0)
    results = {automatic(image, np.random.default_rng(seed)).tobytes() for seed in range(120)}
    assert len(results) > 80


def test_cache_keeps_cells_where_they_are(cached: list[CachedImage]) -> None:
    assert len(cached) == 3 * len(CLASSES)
    for entry in cached:
        assert entry.image.shape == (90, 120, 3)
        assert entry.whole.shape == (60, 80, 3)
        assert (entry.cell is None) == (entry.label == 0)
        if entry.cell is None:
            continue
        x, y, side = entry.cell
        dark = np.argwhere(entry.image.mean(2) < 180)
        assert np.abs(dark.mean(0) - (y, x)).max() < 4
        assert 30 < side < 48


def test_large_images_are_kept_at_four_times_the_input_at_most(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = scan(write_folder(tmp_path_factory.mktemp("data") / "cells", 2))
    (entry, *_) = cache_images(folder.images, (16, 16), lambda: None, [])
    assert entry.image.shape == (48, 64, 3)
    assert entry.whole.shape == (20, 20, 3)


def test_batches_depend_on_seed_and_epoch_alone(cached: list[CachedImage]) -> None:
    def epoch(seed: int, number: int) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        return list(training_batches(cached, SIZE, 5, seed, number))

    first, again = epoch(0, 0), epoch(0, 0)
    assert [len(labels) for _, labels in first] == [5, 5, 2]
    for (views, labels), (same_views, same_labels) in zip(first, again, strict=True):
        assert views.shape == (len(labels), *SIZE, 3)
        assert views.dtype == np.uint8
        assert labels.dtype == np.int64
        assert np.array_equal(views, same_views)
        assert np.array_equal(labels, same_labels)
    assert sorted(np.concatenate([labels for _, labels in first])) == sorted([0, 1, 2, 3] * 3)
    for seed, number in ((0, 1), (1, 0)):
        assert not np.array_equal(first[0][0], epoch(seed, number)[0][0])


def test_an_image_draws_from_its_own_generator(cached: list[CachedImage]) -> None:
    """The batch size and the neighbours do not change how an image is shown."""

    def views(batch: int) -> set[bytes]:
        return {
            view.tobytes()
            for part, _ in training_batches(cached, SIZE, batch, 3, 4)
            for view in part
        }

    assert views(12) == views(4)


def test_a_last_batch_of_one_image_is_dropped(cached: list[CachedImage]) -> None:
    sizes = [len(labels) for _, labels in training_batches(cached[:9], SIZE, 4, 0, 0)]
    assert sizes == [4, 4]
    assert [len(part) for _, part in training_batches(cached[:1], SIZE, 4, 0, 0)] == [1]


def test_half_of_the_views_are_crops_where_there_is_a_cell(
    cached: list[CachedImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    any_angles: list[bool] = []

    def noted(*arguments: Any, any_angle: bool, **more: Any) -> Any:
        any_angles.append(any_angle)
        return geometry(*arguments, any_angle=any_angle, **more)

    monkeypatch.setattr(loader, "geometry", noted)
    for seed in range(300):
        augmented(cached[-1], SIZE, np.random.default_rng(seed), vary_look=False)
    assert 0.4 < np.mean(any_angles) < 0.6
    any_angles.clear()
    bare = CachedImage(cached[0].image, cached[0].whole, None, 0)
    for seed in range(20):
        augmented(bare, SIZE, np.random.default_rng(seed), vary_look=False)
    assert not any(any_angles)


def test_crops_in_training_go_on_beyond_the_edge_as_in_a_run() -> None:
    # A bright line just inside the edge: reflected it would appear twice, repeated it does not.
    image = np.full((80, 80, 3), 200, np.uint8)
    image[:, 3:6] = (250, 20, 20)
    cell = Cell(0, 20, 20, 40, 700.0)
    entry = CachedImage(image, resample(image, (50, 50)), (10.0, 40.0, 40.0), 0)
    crops = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        view = augmented(entry, (40, 40), rng, vary_look=False)
        if np.random.default_rng(seed).random() >= CROP_SHARE:
            continue
        crops += 1
        red = (view[..., 1] < 100).astype(np.uint8)
        assert cv2.connectedComponents(red)[0] == 2
    assert crops > 10
    red = (crop(image, cell)[..., 1] < 100).astype(np.uint8)
    assert cv2.connectedComponents(red)[0] == 2


def test_without_varying_the_look_no_colour_is_new() -> None:
    flat = np.full((90, 120, 3), (200, 60, 90), np.uint8)
    entry = CachedImage(flat, resample(flat, (60, 80)), (60.0, 45.0, 30.0), 0)
    for seed in range(20):
        plain = augmented(entry, SIZE, np.random.default_rng(seed), vary_look=False)
        assert np.array_equal(np.unique(plain.reshape(-1, 3), axis=0), [[200, 60, 90]])
    varied = [
        augmented(entry, SIZE, np.random.default_rng(seed), vary_look=True) for seed in range(20)
    ]
    assert len({view.tobytes() for view in varied}) > 10
