"""What a microscope's camera shows of things whose size and light are known."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def micrometer(
    period: float,
    angle: float,
    *,
    size: tuple[int, int] = (240, 320),
    width: float = 0.25,
    noise: float = 3.0,
    seed: int = 0,
) -> Image:
    """A stage micrometer: lines ``period`` pixels apart, every fifth and tenth longer.

    Args:
        period: pixels between two lines.
        angle: direction across them, in degrees.
        size: (height, width) in pixels.
        width: of a line, as a share of the period.
        noise: standard deviation of the sensor's, in grey values.
        seed: of the noise.
    """
    height, wide = size
    fine = 3
    y, x = np.mgrid[0 : height * fine, 0 : wide * fine].astype(np.float32) / fine
    turn = np.radians(angle)
    across = (x - wide / 2) * np.cos(turn) + (y - height / 2) * np.sin(turn) + 3.3
    along = (y - height / 2) * np.cos(turn) - (x - wide / 2) * np.sin(turn)
    number = np.rint(across / period)
    reach = np.where(number % 10 == 0, 1.0, np.where(number % 5 == 0, 0.8, 0.6)) * height / 2
    dark = (np.abs(across - number * period) < width * period / 2) & (np.abs(along) < reach)
    drawn = cv2.resize(np.where(dark, 60, 220).astype(np.float32), (wide, height), interpolation=3)
    return noisy(cv2.GaussianBlur(drawn, (0, 0), 1.0)[..., None].repeat(3, axis=2), noise, seed)


def blank(
    level: tuple[float, float, float] = (214, 210, 199),
    *,
    fall: float = 0.25,
    size: tuple[int, int] = (120, 160),
    seed: int = 0,
) -> Image:
    """An empty field in light that falls off from a place beside the middle.

    Args:
        level: red, green and blue at the brightest place.
        fall: share that is lost at a corner, about.
        size: (height, width) in pixels.
        seed: of the noise.
    """
    return noisy(light(fall, size)[..., None] * np.array(level, np.float32), 2.0, seed)


def light(fall: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """The light of `blank`, 1 at the brightest place."""
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j].astype(np.float32)
    return np.asarray(1 - fall / 2 * ((x + 0.1) ** 2 + (y - 0.1) ** 2), np.float32)


def red_cells(diameter: float, *, size: tuple[int, int] = (240, 320), seed: int = 0) -> Image:
    """A smear of red cells with pale centres, side by side, at places of their own."""
    rng = np.random.default_rng(seed)
    field = np.empty((*size, 3), np.float32)
    field[:] = (225, 222, 215)
    step = 1.35 * diameter
    for row in np.arange(step / 2, size[0], step):
        for column in np.arange(step / 2, size[1], step):
            middle = np.array([column, row]) + rng.uniform(-0.12, 0.12, 2) * diameter
            radius = diameter / 2 * rng.normal(1, 0.05)
            turn = float(rng.uniform(0, 180))
            for share, colour in ((1.0, (205, 140, 145)), (0.4, (215, 175, 175))):
                centre = (float(middle[0]), float(middle[1]))
                axes = (2.2 * radius * share, 2 / 1.1 * radius * share)  # none is a disc
                cv2.ellipse(field, (centre, axes, turn), colour, -1, cv2.LINE_AA)
    return noisy(cv2.GaussianBlur(field, (0, 0), 1.0), 2.0, seed)


def noisy(values: NDArray[np.float32], noise: float, seed: int) -> Image:
    """Values with a sensor's noise, as bytes."""
    drawn = values + np.random.default_rng(seed).normal(0, noise, values.shape)
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
