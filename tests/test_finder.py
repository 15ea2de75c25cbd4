"""White cells are found by their stain, whatever the frame's size and the lamp's colour."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_metadata import tiny_file

import qlvit_edge.bundled
from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError
from qlvit_edge.fields.density import optical_density, red_stain
from qlvit_edge.fields.finder import (
    MOST_CELLS,
    Cell,
    crop,
    find_cells,
    is_grey,
    main_cell,
    search,
    shrunk,
)
from qlvit_edge.fields.nuclei import LEAST_TURN, find_nuclei
from qlvit_edge.fields.ranks import median, percentile
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.microscope.pipeline import Pipeline
from qlvit_edge.preprocess import decode

Image = NDArray[np.uint8]
FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
# Boxes (x0, y0, x1, y1) as drawn by the annotators of the BCCD set.
ANNOTATED = {
    "BloodImage_00010.jpg": [(23, 229, 204, 421), (239, 253, 510, 470)],
    "BloodImage_00043.jpg": [(76, 106, 217, 228), (498, 304, 639, 480)],
    "BloodImage_00065.jpg": [(253, 275, 387, 392), (404, 107, 538, 224)],
    "BloodImage_00070.jpg": [(167, 83, 296, 206), (375, 348, 471, 439)],
    # Two large cells side by side.
    "BloodImage_00176.jpg": [(107, 34, 324, 234), (306, 102, 460, 246)],
}


def overlap(cell: Cell, box: tuple[int, int, int, int]) -> float:
    width = min(cell.x + cell.width, box[2]) - max(cell.x, box[0])
    height = min(cell.y + cell.height, box[3]) - max(cell.y, box[1])
    shared = max(0, width) * max(0, height)
    return shared / (cell.width * cell.height + (box[2] - box[0]) * (box[3] - box[1]) - shared)


def assert_finds_annotated(image: Image, name: str, *, least: float = 0.45) -> None:
    scale = 640 / image.shape[1]
    cells = [
        replace(
            c,
            x=round(c.x * scale),
            y=round(c.y * scale),
            width=round(c.width * scale),
            height=round(c.height * scale),
        )
        for c in find_cells(image)
    ]
    assert len(cells) == len(ANNOTATED[name])
    for box in ANNOTATED[name]:
        assert max(overlap(cell, box) for cell in cells) >= least


def synthetic(*, size: tuple[int, int] = (240, 320)) -> Image:
    """A pale field with pink red cells."""
    field = np.full((*size, 3), (225, 222, 214), np.uint8)
    for x, y in ((60, 60), (150, 180), (260, 190), (60, 200)):
        cv2.circle(field, (x, y), 26, (205, 150, 140), -1)
    return field


NUCLEUS, CYTOPLASM = (110, 70, 170), (210, 190, 220)
WHITE = [((120, 100), 24), ((260, 70), 22), ((230, 190), 26)]
"""Centres and radii of the nuclei of `smear`, in pixels of its 240 × 320."""

# Background and red cells as stains and lamps make them: (background, red cell, nucleus).
STAINS = {
    "pink": ((225, 222, 214), (205, 150, 140), (110, 70, 170)),
    "grey-blue": ((222, 190, 172), (150, 118, 135), (105, 35, 110)),
    "pale": ((230, 232, 230), (214, 198, 200), (170, 150, 222)),
    "yellow": ((220, 205, 160), (170, 130, 118), (105, 50, 100)),
}


def smear(stain: str = "pink", *, white: bool = True, red: int = 15) -> Image:
    """A field of red cells (radius ``red``) with pale centres, some upon others, and nuclei."""
    ground, cell, nucleus = STAINS[stain]
    generator = np.random.default_rng(1)
    light = np.ones((240, 320, 3))
    for x in range(5, 330, int(2.3 * red)):
        for y in range(5, 250, int(2.2 * red)):
            centre = x + int(generator.integers(-5, 6)), y + int(generator.integers(-5, 6))
            near = any(
                np.hypot(centre[0] - at[0], centre[1] - at[1]) < radius + 1.6 * red
                for at, radius in WHITE
            )
            if white and near:
                continue
            layer = np.ones_like(light)
            cv2.circle(layer, centre, red, tuple(np.array(cell) / ground), -1)
            cv2.circle(layer, centre, red // 3, tuple((1 + np.array(cell) / ground) / 2), -1)
            light *= layer
    if white:
        for at, radius in WHITE:
            cv2.circle(
                light, at, int(1.3 * radius), tuple((2 + np.array(nucleus) / ground) / 3), -1
            )
            cv2.circle(light, at, radius, tuple(np.array(nucleus) / ground), -1)
    noise = generator.normal(0, 2, light.shape)
    field = cv2.GaussianBlur(light * ground, (0, 0), 1) + noise
    return np.clip(field, 0, 255).astype(np.uint8)


def assert_finds_white(image: Image) -> None:
    """Every nucleus of `smear` is found, its box where it is, and nothing else."""
    scale = image.shape[1] / 320
    cells = find_cells(image)
    assert len(cells) == len(WHITE)
    for (x, y), radius in WHITE:
        wanted = 1.3 * radius
        box = (x - wanted, y - wanted, x + wanted, y + wanted)
        x0, y0, x1, y1 = (round(value * scale) for value in box)
        assert max(overlap(cell, (x0, y0, x1, y1)) for cell in cells) > 0.7


@pytest.mark.parametrize("stain", STAINS)
def test_nuclei_are_found_in_every_stain(stain: str) -> None:
    assert_finds_white(smear(stain))


@pytest.mark.parametrize("stain", STAINS)
def test_red_cells_upon_red_cells_are_no_nuclei(stain: str) -> None:
    assert find_cells(smear(stain, white=False)) == []


def test_a_thick_layer_of_a_red_cell_is_not_turned_in_colour() -> None:
    red = red_stain(optical_density(smear()))
    assert red is not None
    thick = np.asarray(3 * np.array(red.colour)[None], np.float32)
    nucleus, ground = np.array(STAINS["pink"][2]), np.array(STAINS["pink"][0])
    assert red.turned(thick) == pytest.approx(0, abs=0.1)
    assert red.turned(np.asarray(-np.log10(nucleus / ground)[None], np.float32)) > LEAST_TURN
    # Drops darker than a nucleus, in the colour of the red cells.
    drops = optical_density(smear(white=False))
    drops[100:130, 100:130] = thick
    assert find_nuclei(drops, red, 30) == []
    drops[100:130, 100:130] = -np.log10(nucleus / ground)
    assert len(find_nuclei(drops, red, 30)) == 1


def test_a_box_reaches_as_far_as_the_pale_body_around_the_nucleus() -> None:
    field = smear(white=False)
    cv2.circle(field, (160, 120), 45, STAINS["pink"][0], -1)
    cv2.circle(field, (160, 120), 24, (213, 185, 183), -1)
    cv2.circle(field, (160, 127), 16, STAINS["pink"][2], -1)
    (cell,) = find_cells(field)
    assert overlap(cell, (136, 96, 184, 144)) > 0.8


@pytest.mark.parametrize("gain", [(0.6,) * 3, (1.1,) * 3, (0.7, 1, 1), (1, 0.7, 1), (1, 1, 0.7)])
def test_gain_and_white_balance_change_nothing(gain: tuple[float, float, float]) -> None:
    assert_finds_white(np.clip(smear() * np.array(gain), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_gamma_changes_nothing(gamma: float) -> None:
    assert_finds_white((255 * (smear() / 255) ** gamma).round().astype(np.uint8))


def test_blur_changes_nothing() -> None:
    assert_finds_white(np.asarray(cv2.GaussianBlur(smear(), (0, 0), 2.5), np.uint8))


@pytest.mark.parametrize("factor", [0.6, 1.6, 3.0])
def test_the_size_comes_from_the_red_cells(factor: float) -> None:
    image = cv2.resize(smear(), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    assert_finds_white(np.asarray(image, np.uint8))
    scale = search(np.asarray(image, np.uint8)).scale
    assert scale is not None
    assert scale.source == "red cells"
    assert scale.red_cell == pytest.approx(30 * factor, rel=0.25)


def test_a_wider_field_shows_smaller_cells_and_they_are_found() -> None:
    mosaic = np.tile(smear(), (3, 3, 1))
    assert len(find_cells(mosaic)) == 9 * len(WHITE)


def test_the_scale_says_where_it_comes_from() -> None:
    told = search(smear(), cell_size=0.2).scale
    assert told is not None
    assert told.source == "cell size"
    assert told.red_cell == pytest.approx(0.2 * 240 / 1.7)
    assert search(np.full((240, 320, 3), 225, np.uint8)).scale is None


def test_the_main_cell_is_in_the_middle_and_may_be_a_platelet() -> None:
    field = synthetic()
    cv2.circle(field, (160, 110), 9, NUCLEUS, -1)
    assert find_cells(field) == []
    cell = main_cell(field)
    assert cell is not None
    assert abs(cell.centre[0] - 160) < 3
    assert abs(cell.centre[1] - 110) < 3
    assert main_cell(synthetic()) is None
    cv2.circle(field, (290, 60), 26, NUCLEUS, -1)
    cv2.circle(field, (160, 110), 22, NUCLEUS, -1)
    cell = main_cell(field)
    assert cell is not None
    assert abs(cell.centre[0] - 160) < 3


def test_nothing_is_looked_for_in_grey_pictures() -> None:
    grey = smear().mean(2).round().astype(np.uint8)[..., None].repeat(3, 2)
    assert is_grey(grey)
    assert find_cells(grey) == []
    assert not is_grey(smear())
    assert not is_grey(np.full((240, 320, 3), 128, np.uint8))


@pytest.mark.parametrize("name", ANNOTATED)
def test_every_annotated_white_cell_of_a_real_field_is_found_and_nothing_else(name: str) -> None:
    assert_finds_annotated(decode(FIELDS / name), name)


@pytest.mark.parametrize("width", [320, 1000, 1920])
def test_a_field_gives_the_same_cells_at_every_frame_size(width: int) -> None:
    for name in ANNOTATED:
        image = decode(FIELDS / name)
        resized = cv2.resize(image, (width, width * 3 // 4), interpolation=cv2.INTER_AREA)
        assert_finds_annotated(np.asarray(resized, np.uint8), name)


@pytest.mark.parametrize("lamp", [(1.0, 0.9, 0.75), (0.8, 0.95, 1.0), (0.6, 0.6, 0.6)])
def test_another_white_balance_or_a_dimmer_lamp_changes_nothing(
    lamp: tuple[float, float, float],
) -> None:
    for name in ANNOTATED:
        tinted = (decode(FIELDS / name) * np.array(lamp)).astype(np.uint8)
        assert_finds_annotated(tinted, name)


def test_the_largest_nucleus_comes_first() -> None:
    areas = [cell.area for cell in find_cells(decode(FIELDS / "BloodImage_00043.jpg"))]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[1]


def test_lobes_of_one_nucleus_are_one_cell() -> None:
    field = synthetic()
    for x, y in ((150, 70), (168, 84), (150, 98)):
        cv2.circle(field, (x, y), 10, (110, 70, 170), -1)
    (cell,) = find_cells(field)
    assert cell.x < 141 < 177 < cell.x + cell.width
    assert cell.y < 61 < 107 < cell.y + cell.height


def test_two_cells_apart_are_two() -> None:
    field = synthetic()
    for x in (130, 230):
        cv2.circle(field, (x, 90), 22, (110, 70, 170), -1)
    assert len(find_cells(field)) == 2


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_frame_without_a_picture_holds_no_cell(level: int) -> None:
    assert find_cells(np.full((480, 640, 3), level, np.uint8)) == []


def test_a_field_of_red_cells_and_platelets_holds_no_white_cell() -> None:
    field = synthetic()
    for x, y in ((150, 60), (200, 120), (20, 20)):
        cv2.circle(field, (x, y), 7, (120, 90, 180), -1)
    assert find_cells(field) == []


def test_black_corners_of_a_rotated_copy_are_no_cells() -> None:
    field = synthetic()
    corner = np.array([[0, 0], [90, 0], [0, 120]])
    cv2.fillPoly(field, [corner], (0, 0, 0))
    assert find_cells(field) == []


def test_tiny_frames_do_not_break_the_search() -> None:
    for shape in ((1, 1, 3), (1, 40, 3), (7, 5, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        for cell in find_cells(image):
            assert cell.x + cell.width <= shape[1]


def test_cells_stay_inside_the_frame() -> None:
    for path in sorted(FIELDS.glob("*.jpg")):
        image = decode(path)
        for cell in find_cells(image):
            assert cell.x >= 0
            assert cell.y >= 0
            assert cell.x + cell.width <= image.shape[1]
            assert cell.y + cell.height <= image.shape[0]


def test_a_smaller_magnification_is_told_by_the_cell_size() -> None:
    field = decode(FIELDS / "BloodImage_00065.jpg")
    mosaic = np.tile(field, (3, 3, 1))
    assert len(find_cells(mosaic, cell_size=0.1)) == 18


def test_a_frame_full_of_stain_stays_affordable() -> None:
    field = np.full((1200, 1600, 3), 225, np.uint8)
    for y in range(10, 1200, 20):
        for x in range(10, 1600, 20):
            cv2.circle(field, (x, y), 6, (110, 70, 170), -1)
    started = time.monotonic()
    assert 0 < len(find_cells(field, cell_size=0.01)) <= MOST_CELLS
    assert time.monotonic() - started < 20


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="RGB"):
        find_cells(np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match="cell_size"):
        find_cells(np.zeros((10, 10, 3), np.uint8), cell_size=0)
    with pytest.raises(ValueError, match="crop"):
        crop(np.zeros((10, 10, 3), np.uint8), Cell(0, 0, 0, 5, 0.0))


def test_a_crop_is_a_centred_square_with_its_margin() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 90:130] = 255
    cut = crop(image, Cell(90, 40, 40, 20, 800.0), 0.5)
    assert cut.shape == (60, 60, 3)
    ys, xs = np.nonzero(cut[..., 0])
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (20, 39, 10, 49)


def test_crops_anywhere_are_the_clipped_pixels() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    for _ in range(200):
        x, y = int(generator.integers(0, 40)), int(generator.integers(0, 30))
        width, height = (int(value) for value in generator.integers(1, 50, 2))
        cell = Cell(x, y, min(width, 40 - x), min(height, 30 - y), 1.0)
        cut = crop(image, cell, 0.4)
        side = cut.shape[0]
        left, top = (round(middle - side / 2) for middle in cell.centre)
        rows = np.clip(np.arange(top, top + side), 0, 29)
        columns = np.clip(np.arange(left, left + side), 0, 39)
        assert np.array_equal(cut, image[rows][:, columns])
        assert not np.shares_memory(cut, image)


def test_a_cell_outside_the_image_has_no_crop() -> None:
    with pytest.raises(ValueError, match="outside"):
        crop(np.zeros((10, 10, 3), np.uint8), Cell(50, 50, 5, 5, 1.0))


def test_a_crop_beyond_the_edge_repeats_the_border() -> None:
    image = np.arange(10 * 10 * 3, dtype=np.uint8).reshape(10, 10, 3)
    cut = crop(image, Cell(0, 0, 4, 4, 16.0), 1.0)
    assert cut.shape == (8, 8, 3)
    assert np.array_equal(cut[2:, 2:], image[:6, :6])
    assert (cut[:2, :2] == image[0, 0]).all()


@pytest.mark.parametrize("size", [(720, 1280), (723, 1281), (960, 1280), (480, 640)])
def test_a_smaller_copy_is_the_mean_of_what_it_covers(size: tuple[int, int]) -> None:
    image = cv2.GaussianBlur(
        np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8), (9, 9), 3
    )
    image = np.asarray(image, np.uint8)
    small = round(size[1] / 6), round(size[0] / 6)
    copy = shrunk(image, 1 / 6)
    wanted = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    assert copy.shape == wanted.shape
    assert np.abs(copy.astype(int) - wanted).max() <= 2
    assert shrunk(image, 1.0) is image


def test_ranks_are_those_of_numpy() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 3, 10, 11, 500):
        values = rng.standard_normal(count).astype(np.float32)
        assert median(values) == np.median(values)
        for percent in (0, 5, 35, 50, 75, 99.5, 100):
            assert percentile(values, percent) == pytest.approx(
                float(np.percentile(values, percent)), abs=1e-6
            )


@pytest.mark.parametrize("size", [(240, 320), (960, 1280)])
def test_cells_that_the_edge_cuts_are_marked(size: tuple[int, int]) -> None:
    height, width = size
    radius = height // 12
    places = {"cut": (0, height // 3), "whole": (width // 2, height // 2)}
    places["touching"] = (width - radius - 1, height // 4)
    image = np.full((height, width, 3), 225, np.uint8)
    for place in places.values():
        cv2.circle(image, place, radius, (110, 70, 170), -1)
    cells = {
        name: next(
            cell
            for cell in find_cells(image)
            if cell.x <= x < cell.x + cell.width and cell.y <= y < cell.y + cell.height
        )
        for name, (x, y) in places.items()
    }
    assert {name: cell.cut for name, cell in cells.items()} == {
        "cut": True,
        "whole": False,
        "touching": True,  # its cytoplasm lies outside
    }


def test_a_grey_frame_among_coloured_ones_does_not_end_a_run(tmp_path: Path) -> None:
    levels = np.linspace(200, 240, 320).astype(np.uint8)
    empty = np.repeat(np.broadcast_to(levels, (240, 320))[:, :, None], 3, axis=2)
    assert is_grey(empty)
    with Classifier(tiny_file(tmp_path / "m.tflite"), isolated=False) as classifier:

        def count(pipeline: Pipeline, image: Image) -> int:
            return len(pipeline.process(Frame(image, 0, 0.0, "frame")))

        camera = Pipeline(classifier, one_camera=True)
        assert count(camera, np.full((240, 320, 3), 128, np.uint8)) == 0
        with pytest.raises(DataError, match="a grey picture of a stained smear"):
            camera.process(Frame(empty, 0, 0.0, "frame"))
        assert count(camera, smear()) == len(WHITE)
        assert count(camera, empty) == 0
        files = Pipeline(classifier)
        assert count(files, smear()) == len(WHITE)
        with pytest.raises(DataError, match="a grey picture of a stained smear"):
            files.process(Frame(empty, 0, 0.0, "frame"))
