"""Twelve classes can be told apart in every picture, by colour-blind readers too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from qlvit_edge.evaluation import plots
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.annotate import annotate
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.palette import COLOURS, UNCERTAIN, colour, ink, rgb

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
LEAST = 15
"""Distance in CIELAB; about 2 can just be seen side by side."""


def lab(colours: tuple[str, ...], sight: str) -> NDArray[np.float64]:
    """CIELAB of colours as someone sees them."""
    values = np.array([rgb(text) for text in colours]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1)
    xyz = seen @ np.array(TO_XYZ).T / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


@pytest.mark.parametrize("sight", SIGHT)
def test_twelve_colours_are_far_apart(sight: str) -> None:
    assert len(COLOURS) >= 12
    seen = lab(COLOURS, sight)
    pairs = itertools.combinations(range(len(COLOURS)), 2)
    near = {
        (COLOURS[a], COLOURS[b]): float(distance)
        for a, b in pairs
        if (distance := np.linalg.norm(seen[a] - seen[b])) < LEAST
    }
    assert not near


def test_text_on_every_plate_can_be_read() -> None:
    """A contrast of 4.5 at least, as WCAG 2.1 asks of text."""
    for plate in (*COLOURS, UNCERTAIN):
        lightness = sorted(lab((text,), "normal")[0, 0] for text in (plate, ink(plate)))
        luminance = [((v + 16) / 116) ** 3 if v > 8 else v / 903.3 for v in lightness]
        assert (luminance[1] + 0.05) / (luminance[0] + 0.05) >= 4.5, plate


def test_pictures_of_frames_and_plots_give_a_class_one_colour() -> None:
    assert plots.COLOURS is COLOURS
    labels = [f"CLASS {number}" for number in range(12)]
    for number, label in enumerate(labels):
        image = np.full((60, 200, 3), 255, np.uint8)
        cell = ClassifiedCell(
            Cell(20, 20, 30, 30, 50.0),
            Classification(label, 0.9, {label: 0.9}, "accepted"),
        )
        drawn = annotate(image, [cell], labels)
        assert tuple(drawn[49, 35]) == rgb(colour(number))
