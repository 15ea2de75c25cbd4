"""The paper's augmentation: what each operation does, and that a view is the image's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_run import cell_image
from torch import Tensor

from qlvit_edge.data.chance import Drawn
from qlvit_edge.training.paper_views import (
    OPERATIONS,
    Operation,
    Variation,
    drawn_variation,
    vary,
)

SIZE = (64, 64)


def drawn(images: list[int], places: list[int], seed: int = 3, epoch: int = 2) -> Drawn:
    return Drawn(seed, epoch, np.array(images, np.int64), np.array(places, np.int64))


def batch(count: int, channels: int = 3) -> Tensor:
    """Whole images (count, channels, 80, 80), each another one."""
    images = np.stack([cell_image(index % 4, index)[:80, 20:100] for index in range(count)])
    return torch.from_numpy(images[..., :channels]).permute(0, 3, 1, 2)


def only(name: Operation, strength: float, count: int = 1) -> Variation:
    """One operation, nothing turned or mirrored."""
    straight = np.tile(np.eye(2, 3), (count, 1, 1))
    operations = np.full(count, OPERATIONS.index(name))
    return Variation(straight, operations, np.full(count, strength))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_is_the_same_in_any_batch(channels: int) -> None:
    images, numbers = batch(33, channels), list(range(33))
    together = vary(images, drawn_variation(drawn(numbers, numbers), channels), SIZE)
    assert together.shape == (33, channels, *SIZE)
    assert torch.equal(together, together.round())
    assert 0 <= float(together.min()) < float(together.max()) <= 255
    for some in ([32], [0, 5, 17], numbers[4:20]):
        alone = vary(images[some], drawn_variation(drawn(some, some), channels), SIZE)
        assert torch.equal(alone, together[some])


def test_draws_belong_to_seed_epoch_image_and_place() -> None:
    base = drawn([7], [9]).uniform(1, 5)
    assert np.array_equal(base, drawn([1, 7], [2, 9]).uniform(1, 5)[1:])
    others = [
        drawn([8], [9]),
        drawn([7], [10]),
        drawn([7], [9], seed=4),
        drawn([7], [9], epoch=3),
    ]
    for other in others:
        assert not np.isclose(other.uniform(1, 5), base).any()
    assert not np.isclose(drawn([7], [9]).uniform(2, 5), base).any()
    many = drawn([0] * 4000, list(range(4000))).uniform(1, 5)
    assert many.min() >= 0
    assert many.max() < 1
    assert many.mean(0) == pytest.approx([0.5] * 5, abs=0.03)
    assert np.corrcoef(many.T)[np.triu_indices(5, 1)] == pytest.approx([0] * 10, abs=0.08)


def test_every_operation_is_drawn_equally_often_and_turns_stay_within_15_degrees() -> None:
    numbers = list(range(6000))
    found = drawn_variation(drawn(numbers, numbers), 3)
    shares = np.bincount(found.operations, minlength=len(OPERATIONS)) / 6000
    assert shares == pytest.approx([1 / len(OPERATIONS)] * len(OPERATIONS), abs=0.02)
    straight = found.operations == OPERATIONS.index("identity")
    turns = np.degrees(np.arcsin(np.abs(found.matrix[straight, 0, 1])))
    assert 14 < turns.max() <= 15
    corners = found.matrix[straight][:, [0, 1], [0, 1]]
    signs, counts = np.unique(np.sign(corners), axis=0, return_counts=True)
    assert len(signs) == 4  # mirrored across, down, both and not at all
    assert counts.min() > 80
    moved = found.operations == OPERATIONS.index("move across")
    assert 0.39 < np.abs(found.matrix[moved, 0, 2]).max() <= 0.4
    assert not found.matrix[~moved, 0, 2].any()
    sheared = np.linalg.norm(found.matrix[:, :, 1], axis=1) > 1 + 1e-9
    assert set(found.operations[sheared]) == {OPERATIONS.index("shear across")}
    assert np.linalg.norm(found.matrix[:, :, 1], axis=1).max() == pytest.approx(1.044, abs=1e-3)
    grey = drawn_variation(drawn(numbers, numbers), 1)
    assert set(grey.operations) == set(range(len(OPERATIONS) - 2))
    settled = drawn_variation(drawn(numbers, numbers), 3, vary_look=False)
    assert set(settled.operations) == set(range(5))


def test_without_an_operation_a_view_is_the_image_at_the_input_size() -> None:
    image = batch(2)[..., :64, :64]
    assert torch.equal(vary(image, only("identity", 1.0, 2), SIZE), image.float())
    mirrored = only("identity", 0.0, 2)
    mirrored.matrix[:, 0, 0] = -1
    assert torch.equal(vary(image, mirrored, SIZE), image.float().flip(3))


def test_a_turn_keeps_the_size_of_an_oblong_view() -> None:
    """A disc stays one: its pixels are turned, not its sides."""
    rows, columns = np.mgrid[:64, :128]
    disc = 255 * ((rows - 31.5) ** 2 + (columns - 63.5) ** 2 < 20**2)
    image = torch.from_numpy(disc.astype(np.uint8))[None, None]
    turned = only("identity", 0.0)
    angle = np.radians(15)
    turned.matrix[0, :, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    view = vary(image, turned, (64, 128))
    assert float((view - image).abs().mean()) < 1.5


def test_values_are_changed_as_the_names_say() -> None:
    image = batch(1)[..., :64, :64]
    before = image.double()

    def after(name: Operation, strength: float) -> Tensor:
        return vary(image, only(name, strength), SIZE).double()

    assert torch.equal(after("brightness", -0.5), (before * 0.7 + 0.5).floor())
    mean = before.mean()
    expected = (mean + 1.3 * (before - mean) + 0.5).floor().clamp(0, 255)
    assert torch.equal(after("contrast", 0.5), expected)
    assert torch.equal(after("posterise", 1.0), (before / 16).floor() * 16)
    stretched = after("automatic contrast", 0.1)
    assert stretched.amin((0, 2, 3)).tolist() == [0, 0, 0]
    assert stretched.amax((0, 2, 3)).tolist() == [255, 255, 255]
    assert after("saturation", -1.0).std(1).mean() < 0.6 * before.std(1).mean()
    assert after("hue", 1.0).mean((2, 3)).sum() == pytest.approx(
        float(before.mean((2, 3)).sum()), rel=0.02
    )
    assert not torch.equal(after("hue", 1.0), after("hue", -1.0))
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    summed = torch.nn.functional.avg_pool2d(before, 3, 1) * 9
    sharp = before[inner] + 0.6 * (before[inner] - summed / 9)
    assert torch.equal(after("sharpness", 1.0)[inner], (sharp + 0.5).floor().clamp(0, 255))


def test_what_moves_pixels_moves_them_as_far_as_it_says() -> None:
    image = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    image[..., 32, 32] = 255
    numbers = [0]
    drawn_one = drawn_variation(drawn(numbers, numbers), 1)
    moved = replace(drawn_one, matrix=np.array([[[1.0, 0, 0.25], [0, 1.0, -0.125]]]))
    view = vary(image, replace(moved, operations=np.array([0])), SIZE)
    assert view.flatten().argmax() == (32 + 4) * 64 + 32 - 8


def test_a_process_without_images_varies_none() -> None:
    """A short batch may leave none for it."""
    nothing = drawn([], [])
    found = vary(torch.empty(0, 3, 80, 80), drawn_variation(nothing, 3), SIZE)
    assert found.shape == (0, 3, *SIZE)
