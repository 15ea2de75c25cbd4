"""The lines of a stage micrometer: found at any angle, and nothing else is taken for them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from optics import blank, micrometer, noisy, red_cells

from qlvit_edge.fields.micrometer import NoLinesError, find_lines


@pytest.mark.parametrize(
    ("period", "angle", "width", "noise"),
    [
        (30.0, 0.0, 0.25, 3.0),
        (30.0, 90.0, 0.25, 3.0),
        (27.3, 7.0, 0.25, 3.0),
        (12.7, -33.0, 0.25, 3.0),
        (9.0, 12.0, 0.4, 3.0),
        (25.0, 2.0, 0.1, 3.0),
        (40.0, 88.0, 0.25, 12.0),
    ],
)
def test_the_distance_of_lines_is_found(
    period: float, angle: float, width: float, noise: float
) -> None:
    found = find_lines(micrometer(period, angle, width=width, noise=noise))
    assert found.period == pytest.approx(period, rel=0.005)
    assert found.uncertainty < 0.005 * period
    assert abs((found.angle - angle + 90) % 180 - 90) < 1.0
    assert found.count >= 4


def test_a_large_picture_is_measured_in_its_own_pixels() -> None:
    large = cv2.resize(micrometer(30.0, 5.0), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert find_lines(np.asarray(large, np.uint8)).period == pytest.approx(120.0, rel=0.005)


def test_a_line_that_is_missing_changes_nothing() -> None:
    image = micrometer(30.0, 0.0)
    assert find_lines(image).count == 9
    image[:, 145:168] = 220
    found = find_lines(image)
    assert found.count == 8
    assert found.period == pytest.approx(30.0, rel=0.005)


def uneven() -> np.ndarray:
    """Parallel lines at places of no order."""
    image = np.full((240, 320, 3), 220, np.float32)
    for place in (20, 41, 77, 99, 160, 171, 230, 290):
        image[:, place : place + 5] = 60
    return noisy(cv2.GaussianBlur(image, (0, 0), 1.0), 3.0, 0)


@pytest.mark.parametrize(
    ("image", "finding"),
    [
        (blank(), "no one direction|is empty|0 whole dark lines"),
        (np.full((240, 320, 3), 200, np.uint8), "is empty"),
        (red_cells(30.0), "no one direction"),
        (micrometer(200.0, 0.0), "dark lines?; 4 are needed"),
        (uneven(), "not evenly spaced"),
    ],
)
def test_what_is_no_micrometer_is_refused(image: np.ndarray, finding: str) -> None:
    with pytest.raises(NoLinesError, match=finding):
        find_lines(image)
