"""A map lies over the image where the network's positions are, whatever the image's shape."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_run import small_config
from tiny_metadata import metadata
from tiny_model import tiny_model
from torch import nn

from qlvit_edge.evaluation.overlay import MOST_SIDE, heat, overlay, png, shown_size, spread
from qlvit_edge.inference.class_maps import ClassMapper
from qlvit_edge.model.family import FAMILY
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.modelfile.metadata import embed
from qlvit_edge.palette import HEAT, rgb

sides = st.integers(16, 300)


@given(sides, sides, st.integers(1, 7), st.integers(1, 7), st.data())
def test_a_position_is_strongest_over_its_pixel(
    height: int, width: int, rows: int, columns: int, data: st.DataObject
) -> None:
    """Position i lies over the pixel i · stride of the input, also in a squashed image."""
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    fed = (32 * rows, 16 * columns)
    positions = np.zeros((rows, columns))
    positions[row, column] = 1
    found = spread(positions, (height, width), fed)
    assert found.shape == (height, width)
    assert found.min() >= 0
    assert found.max() <= 1
    peak = np.unravel_index(found.argmax(), found.shape)
    for at, index, count, side, of, stride in zip(
        peak, (row, column), (rows, columns), (height, width), fed, (32, 16), strict=True
    ):
        if count > 1:
            assert abs(at + 0.5 - (index * stride + 0.5) * side / of) <= 0.5 + 1e-9


@given(st.integers(1, 7), st.integers(2, 200))
def test_between_the_outermost_centres_an_even_map_stays_even(count: int, side: int) -> None:
    found = spread(np.ones((count, 1)), (side, 1), (32 * count, 32))[:, 0]
    centres = (np.arange(side) + 0.5) * 32 * count / side
    within = (centres >= 0.5) & (centres <= 32 * (count - 1) + 0.5)
    np.testing.assert_allclose(found[within], 1)
    assert (found <= 1 + 1e-12).all()


@pytest.mark.parametrize("member", FAMILY)
def test_the_family_centres_its_kernels_on_every_second_position(member: str) -> None:
    """What `spread` takes for granted of the network."""
    config = small_config(**FAMILY[member])
    strided = 0
    for module in QLViT(config).modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = (
                value if isinstance(value, int) else value[0]
                for value in (module.kernel_size, module.stride, module.padding)
            )
            if int(stride) > 1:
                strided += 1
                assert kernel % 2 == 1
                # The stem pads its image by half its kernel, outside the convolution.
                assert padding == kernel // 2 or kernel == config.stem_kernel
    assert strided >= 4
    x = QLViT(config).stem(torch.zeros(1, config.channels, 64, 64))
    assert x.shape[2:] == (16, 16)


@pytest.mark.parametrize("size", [(40, 24), (24, 40), (7, 201), (300, 299)])
def test_the_overlay_is_yellow_where_the_class_is(size: tuple[int, int], tmp_path: Path) -> None:
    """A network that answers by colour, and a red region in an image of other sides."""
    model = tmp_path / "tiny.tflite"
    model.write_bytes(embed(tiny_model(size=16), metadata(size=16, golden=False)))
    image = np.full((*size, 3), (30, 160, 30), np.uint8)
    height, width = size
    box = (slice(round(0.5 * height), round(0.8 * height)), slice(0, round(0.3 * width)))
    image[box] = (220, 30, 30)
    with ClassMapper(model) as mapper:
        found = mapper.explain(image)
    drawn = overlay(image, found.of("RED"), found.input_size)
    assert drawn.shape == (*shown_size(image), 3)
    shown = heat(found.of("RED"), size, found.input_size).values
    red = np.zeros(size, bool)
    red[box] = True
    assert (shown[red] > 0.5).mean() > 0.8
    assert (shown[~red] > 0.5).mean() < 0.1
    yellow = np.abs(drawn.astype(int) - rgb(HEAT[-1])).sum(2)
    row, column = np.unravel_index(yellow.argmin(), yellow.shape)
    assert red[int(row * height / drawn.shape[0]), int(column * width / drawn.shape[1])]


def test_an_even_map_leaves_the_image_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert np.array_equal(overlay(image, np.full((3, 3), 2.5), (96, 96)), image)
    nearly = np.array([[0.0, 0.4], [0.1, 0.2]])
    assert np.array_equal(overlay(image, nearly, (96, 96), noise=0.5), image)
    assert not np.array_equal(overlay(image, nearly, (96, 96), noise=0.3), image)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1, 1), (192, 192)), ((90, 120), (144, 192)), ((5000, 10), (MOST_SIDE, 2)),
     ((300, 400), (300, 400)), ((1, 9999), (1, MOST_SIDE))],
)  # fmt: skip
def test_images_are_shown_neither_tiny_nor_huge(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = np.zeros((*size, 3), np.uint8)
    assert shown_size(image) == expected
    drawn = overlay(image, np.eye(2), (32, 32))
    assert drawn.shape == (*expected, 3)
    decoded = cv2.imdecode(np.frombuffer(png(drawn), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[:, :, ::-1], drawn)


def test_the_heat_gets_lighter_with_every_step() -> None:
    lightness = [
        cv2.cvtColor(np.float32([[rgb(c)]]) / 255, cv2.COLOR_RGB2LAB)[0, 0, 0] for c in HEAT
    ]
    steps = np.diff(lightness)
    assert (steps > 0).all()
    assert steps.max() < 1.6 * steps.min()
