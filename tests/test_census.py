"""Red cells, platelets, bright cells and regions: on fields that the tests draw."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from accepting import Accepting
from numpy.typing import NDArray

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError
from qlvit_edge.fields.bright import find_bright_cells, is_dark_field
from qlvit_edge.fields.census import Census, is_counted, platelets_per_1000_red, red_per_white
from qlvit_edge.fields.census import census as census_of
from qlvit_edge.fields.finder import Cell, find_cells
from qlvit_edge.fields.scale import Scale
from qlvit_edge.fields.target import target_of
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import Pipeline, require_dark, require_scale

Image = NDArray[np.uint8]
GROUND, RED, NUCLEUS = (232, 228, 224), (205, 150, 150), (95, 60, 150)
AZURE = (150, 115, 190)


def smear(
    red: list[tuple[int, int]],
    white: tuple[tuple[int, int], ...] = (),
    shape: tuple[int, int] = (480, 640),
) -> Image:
    """A field with red cells of 70 pixels, translucent where they overlap, and nuclei of 90."""
    light = np.full((*shape, 3), GROUND, np.float64)
    for x, y in red:
        disc = np.zeros(shape, np.uint8)
        cv2.circle(disc, (x, y), 35, 1, -1)
        light[disc > 0] *= np.array(RED) / GROUND
    for x, y in white:
        cv2.circle(light, (x, y), 45, NUCLEUS, -1)
    noisy = cv2.GaussianBlur(light, (0, 0), 2.0)
    noisy += np.random.default_rng(1).normal(0, 1.5, light.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def census(image: Image, white: Sequence[Cell], large: Sequence[Cell] = ()) -> Census:
    """The census of a field that can be counted."""
    seen = census_of(image, white, large)
    assert seen is not None
    return seen


def with_platelets(image: Image, places: Sequence[tuple[int, int]], radius: int = 11) -> Image:
    """The field with spots stained like a pale nucleus."""
    light = image.astype(np.float64)
    for x, y in places:
        disc = np.zeros(image.shape[:2], np.float64)
        cv2.circle(disc, (x, y), radius, 1, -1)
        share = cv2.GaussianBlur(disc, (0, 0), 2.0)[:, :, None]
        light *= 1 - share * (1 - np.array(AZURE) / GROUND)
    return np.clip(light, 0, 255).astype(np.uint8)


class Naming(Accepting):
    """Accepts every cell as one of a class."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._answer = Classification(label, 1.0, {label: 1.0}, verdict="accepted")

    def infer(self, pixels: Image) -> Classification:  # type: ignore[override]
        return self._answer


def grid(shape: tuple[int, int], step: int, first: int = 60) -> list[tuple[int, int]]:
    return [
        (x, y) for y in range(first, shape[0] - 40, step) for x in range(first, shape[1] - 40, step)
    ]


def glowing(places: list[tuple[int, int]], level: int = 12, radius: int = 25) -> Image:
    """Round cells of differing brightness on a dark ground with a slope and noise."""
    light = np.full((480, 640), float(level)) + np.linspace(0, level, 640)
    for number, (x, y) in enumerate(places):
        disc = np.zeros(light.shape, np.uint8)
        cv2.circle(disc, (x, y), radius, 1, -1)
        light[disc > 0] = level + 40 + 25 * (number % 6)
    light = cv2.GaussianBlur(light, (0, 0), 1.5)
    light += np.random.default_rng(2).normal(0, 2, light.shape)
    return np.clip(light, 0, 255).astype(np.uint8)[:, :, None].repeat(3, 2)


def test_red_cells_apart_are_all_counted() -> None:
    places = grid((480, 640), 110)
    seen = census(smear(places), [])
    assert seen.red_cells == len(places)
    middles = [((left + right) / 2, (top + low) / 2) for left, top, right, low in seen.red]
    for place in places:
        assert min(np.hypot(place[0] - x, place[1] - y) for x, y in middles) < 6


@pytest.mark.parametrize("apart", [72, 62, 50])
def test_touching_and_overlapping_red_cells_are_told_apart(apart: int) -> None:
    pairs = [(x, y) for x in (100, 300, 500) for y in (90, 240, 390)]
    places = pairs + [(x + apart, y) for x, y in pairs]
    assert census(smear(places), []).red_cells == len(places)


def test_a_crowded_field_of_red_cells_is_counted_and_has_no_white_cell() -> None:
    places = grid((480, 640), 74)
    image = smear(places)
    assert find_cells(image) == []
    seen = census(image, [])
    assert abs(seen.red_cells - len(places)) <= 0.1 * len(places)
    assert seen.white_cells == 0
    assert red_per_white(seen.counts()) is None


def test_white_cells_are_no_red_cells() -> None:
    places, white = [(80, 80), (200, 90), (90, 380), (520, 100), (540, 380)], ((320, 240),)
    image = smear(places, white)
    cells = find_cells(image)
    seen = census(image, cells)
    assert len(cells) == 1
    assert seen.counts() == {"white cells": 1, "red cells": 5, "platelets": 0}
    assert red_per_white(seen.counts()) == 5.0


def test_two_borders_are_in_and_two_are_out() -> None:
    inside = [(200, 200), (400, 200), (300, 330)]
    for edge, counted in (((0, 240), 0), ((330, 0), 0), ((639, 240), 1), ((330, 479), 1)):
        seen = census(smear([*inside, edge]), [])
        assert len(seen.red) == 4
        assert seen.red_cells == 3 + counted
    assert not is_counted((0.0, 50.0, 20.0, 90.0))
    assert not is_counted((50.0, 0.0, 90.0, 20.0))
    assert is_counted((600.0, 400.0, 640.0, 480.0))


def test_a_blank_field_has_no_cell_of_any_kind() -> None:
    for level in (0, 128, 235):
        noise = np.random.default_rng(3).normal(level, 1.5, (240, 320, 1)).clip(0, 255)
        image = noise.astype(np.uint8).repeat(3, 2)
        none = {"white cells": 0, "red cells": 0, "platelets": 0}
        assert census(image, []).counts() == none
        assert find_bright_cells(image) == []


PLATELETS = ((150, 250), (420, 160), (250, 430), (400, 380))
FIELD = [(80, 80), (220, 90), (90, 370), (540, 90), (560, 380), (560, 240), (320, 250)]


def test_platelets_are_counted_beside_red_and_white_cells() -> None:
    image = with_platelets(smear(FIELD, ((440, 280),)), PLATELETS)
    seen = census(image, find_cells(image))
    assert seen.counts() == {"white cells": 1, "red cells": 7, "platelets": 4}
    assert platelets_per_1000_red(seen.counts()) == pytest.approx(4000 / 7)
    middles = [((left + right) / 2, (top + low) / 2) for left, top, right, low in seen.platelets]
    for place in PLATELETS:
        assert min(np.hypot(place[0] - x, place[1] - y) for x, y in middles) < 4


def test_platelets_are_counted_by_the_same_two_borders() -> None:
    for edge, more in (((0, 240), 0), ((639, 170), 1)):
        seen = census(with_platelets(smear(FIELD), [*PLATELETS[:2], edge], radius=14), [])
        assert seen.platelet_cells == 2 + more


def test_what_is_red_grey_or_large_is_no_platelet() -> None:
    light = smear(FIELD).astype(np.float64)
    for x, y in PLATELETS[:2]:
        cv2.circle(light, (x, y), 11, RED, -1)
    for x, y in PLATELETS[2:]:
        cv2.circle(light, (x, y), 6, (70, 70, 68), -1)
    image = cv2.GaussianBlur(light, (0, 0), 1.5).astype(np.uint8)
    assert census(image, []).platelets == ()
    assert census(with_platelets(image, PLATELETS, radius=30), []).platelets == ()


def test_an_accepted_platelet_of_a_white_cells_size_is_a_platelet() -> None:
    image = smear(FIELD, ((440, 280),))
    (cell,) = find_cells(image)
    counts = census(image, [], [cell]).counts()
    assert counts == {"white cells": 0, "red cells": 7, "platelets": 1}
    frame = Frame(image=image, index=0, timestamp=0.0, source="field.png")
    for label, white in (("platelet", 0), ("neutrophil", 1)):
        pipeline = Pipeline(Naming(label), find="all")  # type: ignore[arg-type]
        sight = pipeline.look(frame)
        totals = pipeline.count(sight, pipeline.answer(sight))
        assert totals is not None
        assert (totals.white_cells, totals.platelet_cells) == (white, 1 - white)


def test_light_and_magnification_change_no_count() -> None:
    places = [*FIELD, (150, 160), (470, 420), (330, 60), (396, 60)]
    image = with_platelets(smear(places, ((440, 280),)), PLATELETS)
    true = {"white cells": 1, "red cells": 11, "platelets": 4}
    slope = np.linspace(0.85, 1.0, 640)[None, :, None]
    looks = {
        "as it is": image,
        "dim": image * 0.7,
        "warm": image * np.array([1.0, 0.85, 0.7]),
        "cold": image * np.array([0.75, 0.9, 1.0]),
        "uneven": image * slope,
        "soft": cv2.GaussianBlur(image, (0, 0), 2.5),
        "half": cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "twice": cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    }
    for look, light in looks.items():
        shown = light.astype(np.uint8)
        assert (look, census(shown, find_cells(shown)).counts()) == (look, true)


def test_pale_centres_are_no_cells_and_part_none() -> None:
    places = [*FIELD, (150, 160), (470, 420)]
    light = smear(places).astype(np.float64)
    for x, y in places:
        pallor = np.zeros(light.shape[:2])
        cv2.circle(pallor, (x, y), 15, 1, -1)
        share = cv2.GaussianBlur(pallor, (0, 0), 4.0)[:, :, None]
        light += share * 0.8 * (np.array(GROUND) - light)
    seen = census(light.astype(np.uint8), [])
    assert seen.red_cells == len(places)
    assert seen.platelets == ()


def test_outlines_correct_a_size_that_was_measured_wrongly() -> None:
    pairs = [(x, y) for x in (100, 300, 500) for y in (90, 240, 390)]
    image = smear(pairs + [(x + 60, y) for x, y in pairs])
    usual = []
    for off in (0.8, 1.0, 1.25):
        seen = census_of(image, [], scale=Scale(off * 70, "red cells"))
        assert seen is not None
        assert seen.red_cells == 2 * len(pairs)
        usual.append(float(np.median([right - left for left, _, right, _ in seen.red])))
    assert max(usual) < 1.1 * min(usual)


def test_cells_too_small_to_be_counted_are_not_said_to_be_none() -> None:
    image = cv2.resize(smear(grid((480, 640), 90)), None, fx=0.1, fy=0.1)
    assert census_of(np.asarray(image, np.uint8), [], cell_size=0.2) is None


def test_bright_cells_are_found_once_also_where_they_touch() -> None:
    places = [
        (60, 60),
        (112, 60),
        (250, 120),
        (450, 80),
        (500, 84),
        (320, 300),
        (80, 400),
        (560, 400),
    ]
    cells = find_bright_cells(glowing(places))
    assert len(cells) == len(places)
    for x, y in places:
        near = min(cells, key=lambda cell: np.hypot(cell.centre[0] - x, cell.centre[1] - y))
        assert np.hypot(near.centre[0] - x, near.centre[1] - y) < 6
        assert 44 <= near.width <= 64
        assert 44 <= near.height <= 64
        assert not near.cut


def test_a_bright_cell_that_the_edge_cuts_is_said_to_be_cut() -> None:
    cells = find_bright_cells(glowing([(2, 240), (320, 240)]))
    assert sorted(cell.cut for cell in cells) == [False, True]


def test_the_wrong_ground_is_refused_by_name() -> None:
    dark, light = glowing([(100, 100), (300, 200)]), smear([(100, 100), (300, 200)])
    assert is_dark_field(dark)
    require_dark(dark, "dark.png")
    for wrong in (light, 255 - dark):
        with pytest.raises(DataError, match=r"wrong\.png: a picture with a bright ground"):
            require_dark(wrong, "wrong.png")


def test_what_is_looked_for_is_read_strictly() -> None:
    assert target_of("all").kind == "all"
    assert target_of("region:1,2,30,40").in_pixels(None) == (1, 2, 30, 40)
    assert target_of("region:1,2,30,40um").in_pixels(0.5) == (2, 4, 60, 80)
    for text in (
        *("", "red", "region", "region:", "region:1,2,3", "region:1,2,0,4", "region:-1,2,3,4"),
        *("region:1.5,2,3,4", "region:nan,2,3,4", "region:1,2,3,inf", "bright:1"),
    ):
        with pytest.raises(ValueError, match="'"):
            target_of(text)
    with pytest.raises(DataError, match="needs a scale"):
        require_scale("region:1,2,30,40um", None)


def test_a_region_is_classified_as_it_lies_and_refused_beyond_the_frame() -> None:
    image = smear([(200, 200)])
    frame = Frame(image=image, index=0, timestamp=0.0, source="field.png")
    seen = Accepting()
    pipeline = Pipeline(seen, find="region:10,20,300,200")  # type: ignore[arg-type]
    (found,) = pipeline.process(frame)
    assert (found.cell.x, found.cell.y, found.cell.width, found.cell.height) == (10, 20, 300, 200)
    assert np.array_equal(seen.shown[0], image[20:220, 10:310])
    assert pipeline.count(pipeline.look(frame), ()) is None
    beyond = Pipeline(seen, find="region:400,20,300,200")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"field\.png: the region 400,20,300,200 .* 640 x 480"):
        beyond.process(frame)
